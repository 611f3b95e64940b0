package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/web"
)

// logBuffer is what a command writes to standard error.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// find returns the first line with all of the texts.
func (b *logBuffer) find(texts ...string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			return line
		}
	}
	return ""
}

// until asks again and again whether something has come about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(scriptPatience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, scriptPatience)
		}
	}
}

func connectTestClient(t *testing.T, url string) *millhand.Client {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func startTestBroker(t *testing.T, store string, port int) *broker.Broker {
	t.Helper()
	b, err := broker.Start(broker.Config{Store: store, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	return b
}

// startCommand runs the worker command until the test ends, and returns where its health
// checks are.
func startCommand(t *testing.T, args ...string) (url string, log *logBuffer) {
	t.Helper()
	log = &logBuffer{}
	signals, code := make(chan os.Signal, 1), make(chan int, 1)
	go func() { code <- run(append([]string{"--http", "127.0.0.1:0"}, args...), signals, t.Output(), log) }()
	t.Cleanup(func() {
		signals <- syscall.SIGTERM
		if got := <-code; got != 0 {
			t.Errorf("exit code %d, want 0", got)
		}
		if t.Failed() {
			t.Log(log.text.String())
		}
	})
	until(t, "the worker starts", func() bool { return log.find("worker started") != "" })
	_, url, _ = strings.Cut(log.find("serving health checks"), "url=")
	return strings.TrimSpace(url), log
}

// fetch returns the status of an answer, its body in v.
func fetch(t *testing.T, url string, v any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, want := resp.Header.Get("Content-Type"), "application/json"; got != want {
		t.Errorf("%s: content type %q, want %q", url, got, want)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Errorf("%s: %v", url, err)
	}
	return resp.StatusCode
}

func health(t *testing.T, url string) millhand.Health {
	t.Helper()
	var h millhand.Health
	if status := fetch(t, url+"/healthz", &h); status != http.StatusOK {
		t.Errorf("/healthz: %d, want %d", status, http.StatusOK)
	}
	return h
}

// part finds a node of the tree by its path.
func part(t *testing.T, p millhand.TreeNode, path ...string) millhand.TreeNode {
	t.Helper()
	for _, name := range path {
		i := slices.IndexFunc(p.Children, func(c millhand.TreeNode) bool { return c.Name == name })
		if i < 0 {
			t.Fatalf("%s has no part %q: %+v", p.Name, name, p.Children)
		}
		p = p.Children[i]
	}
	return p
}

func TestHealthzShowsTheTree(t *testing.T) {
	b := startTestBroker(t, t.TempDir(), 0)
	end := filepath.Join(t.TempDir(), "end")
	hold := "sh -c 'until [ -e " + end + " ]; do sleep 0.05; done'"
	url, _ := startCommand(t, "-s", b.ClientURL(), "--exec", "hold="+hold)
	h := health(t, url)
	if h.State != "working" || h.Worker == "" {
		t.Errorf("worker %q is %q, want it working", h.Worker, h.State)
	}
	for _, path := range [][]string{
		nil,
		{"http"},
		{"worker"},
		{"worker", "settler"},
		{"worker", "renewer"},
		{"worker", "queue default"},
		{"worker", "queue default", "runner"},
		{"worker", "queue default", "puller hold"},
		{"worker", "queue default", "unhandled"},
	} {
		if p := part(t, h.Tree, path...); p.State != "running" || p.Restarts != 0 || p.LastError != "" || p.Since.IsZero() {
			t.Errorf("%q = %+v, want it running since it was started", path, p)
		}
	}

	nc, err := nats.Connect(b.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "hold"}, millhand.WithID("id-1")); err != nil {
		t.Fatal(err)
	}
	until(t, "the job is in the tree", func() bool {
		return len(part(t, health(t, url).Tree, "worker", "queue default", "runner").Children) > 0
	})
	h = health(t, url)
	if p := part(t, h.Tree, "worker", "queue default", "runner", "id-1"); p.State != "running" || h.InHand != 1 {
		t.Errorf("%d in hand, job = %+v, want 1, running", h.InHand, p)
	}
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the job has left the tree", func() bool { return health(t, url).InHand == 0 })
}

func TestReadyzWhileTheBrokerIsAway(t *testing.T) {
	store := t.TempDir()
	b := startTestBroker(t, store, 0)
	url, _ := startCommand(t, "-s", b.ClientURL())
	ready := func() (int, map[string]string) {
		t.Helper()
		var body map[string]string
		return fetch(t, url+"/readyz", &body), body
	}
	if status, body := ready(); status != http.StatusOK || body["status"] != "ready" {
		t.Errorf("/readyz = %d, %v, want %d", status, body, http.StatusOK)
	}
	u, err := neturl.Parse(b.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	b.Shutdown()
	until(t, "not ready", func() bool { status, _ := ready(); return status == http.StatusServiceUnavailable })
	if _, body := ready(); body["status"] != "not ready" || body["error"] == "" {
		t.Errorf("/readyz = %v, want a reason", body)
	}
	if h := health(t, url); h.State != "working" || h.Tree.State != "running" {
		t.Errorf("worker is %s, its tree %s: an outage is no reason to be restarted", h.State, h.Tree.State)
	}
	startTestBroker(t, store, port)
	until(t, "ready again", func() bool { status, _ := ready(); return status == http.StatusOK })
}

// What other dashboards link to is an address that others can reach.
func TestDashboardForOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		address, origin, base, cert string
		want                        string
	}{
		{"127.0.0.1:8080", "", "", "", ""},
		{"localhost:8080", "", "", "", ""},
		{"0.0.0.0:8080", "", "", "", "http://web-1:8080/"},
		{"[::]:8080", "", "/ops", "", "http://web-1:8080/ops/"},
		{"10.1.2.3:8080", "", "", "cert.pem", "https://10.1.2.3:8080/"},
		{"127.0.0.1:8080", "https://jobs.example.com", "/ops", "", "https://jobs.example.com/ops/"},
	} {
		p := &process{web: web.Options{Origin: tt.origin, Base: tt.base}, webFlags: web.Flags{CertFile: tt.cert}}
		if got := p.dashboardFor(tt.address, "web-1"); got != tt.want {
			t.Errorf("%s, origin %q: %q, want %q", tt.address, tt.origin, got, tt.want)
		}
	}
}
