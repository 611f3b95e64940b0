package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

// publish puts a message on the wire as somebody does who knows of subjects only.
func publish(t *testing.T, js jetstream.JetStream, typ, id string, header nats.Header, payload []byte) millhand.Ref {
	t.Helper()
	ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "millhand.default.ready." + typ + "." + id, Header: header, Data: payload})
	if err != nil {
		t.Fatalf("publish %s %s: %v", typ, id, err)
	}
	return millhand.Ref{ID: id, Type: typ, Queue: "default", Life: fmt.Sprintf("seq-%d", ack.Sequence)}
}

func jetStream(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestNodeEnqueues(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	dir := t.TempDir()
	script, err := os.ReadFile("testdata/publish.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "publish.mjs"), script, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("npm", "install", "--no-audit", "--no-fund", "--silent", "@nats-io/transport-node@3.4.0")
	b := startBroker(t)
	startWorker(t, b.URL, "--exec", "email=cat")
	const id = "5f8a2c1e-from-node"
	run("node", "publish.mjs", b.URL, id)
	info, err := awaitPublished(t, b.URL, millhand.Ref{Type: "email", ID: id})
	if err != nil || string(info.Result) != `{"to":"a@example.com"}` {
		t.Errorf("Await = %s, %v", info.Result, err)
	}
}

// awaitPublished awaits a job that may not be stored yet: whoever published it did not
// wait for that.
func awaitPublished(t *testing.T, url string, ref millhand.Ref) (info millhand.Info, err error) {
	t.Helper()
	c := newClient(t, url)
	until(t, "job "+ref.ID+" is stored", func() bool {
		info, err = c.Await(t.Context(), ref)
		return !errors.Is(err, millhand.ErrNotFound)
	})
	return info, err
}

// Whatever comes over the wire, the job that it makes ends, and the worker goes on.
func TestBadInputNeverStopsAWorker(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	w := startWorker(t, b.URL)
	js := jetStream(t, b.URL)
	pad := func(n int, b byte) []byte { return []byte(strings.Repeat(string([]byte{b}), n)) }
	const limit = 2 << 20 // of the broker
	tests := []struct {
		name, typ, id string
		header        nats.Header
		payload       []byte
		state         millhand.State
		reason        millhand.Reason
		error         string
	}{
		{"nothing", "echo", "nothing", nil, nil, millhand.Succeeded, "", ""},
		{"no JSON", "echo", "no-json", nil, []byte("no JSON"), millhand.Succeeded, "", ""},
		{"bytes", "echo", "bytes", nil, []byte{0xff, 0, 0xfe}, millhand.Succeeded, "", ""},
		{"attempt that is no number", "echo", "attempt", nats.Header{"Millhand-Attempt": {"soon"}}, nil, millhand.Dead, "malformed", "Millhand-Attempt"},
		{"timeout that is no duration", "echo", "timeout", nats.Header{"Millhand-Timeout": {"-5"}}, nil, millhand.Dead, "malformed", "Millhand-Timeout"},
		{"meta with a bad key", "echo", "meta", nats.Header{"Millhand-Meta-a.b": {"1"}}, nil, millhand.Dead, "malformed", "Millhand-Meta"},
		{"payload that does not decode", "flaky", "payload", nil, []byte(`{"fail":"twice"}`), millhand.Dead, "malformed", "payload"},
		{"payload that is cut off", "flaky", "cut", nil, []byte(`{"fail":`), millhand.Dead, "malformed", "payload"},
		{"status of the broker", "echo", "status-100", nats.Header{"Status": {"100"}, "Description": {"Idle Heartbeat"}}, nil, millhand.Succeeded, "", ""},
		{"status of an end", "echo", "status-409", nats.Header{"Status": {"409"}, "Description": {"Consumer Deleted"}}, nil, millhand.Succeeded, "", ""},
		{"status of no answer", "echo", "status-503", nats.Header{"Status": {"503"}}, nil, millhand.Succeeded, "", ""},
		{"payload at the limit", "echo", "limit", nil, pad(1<<20, 'x'), millhand.Succeeded, "", ""},
		{"result over the limit", "echo", "over", nil, pad(limit-300, 'x'), millhand.Dead, "permanent", "result"},
		{"result over the limit as base64", "echo", "base64", nil, pad(3<<19, 0xff), millhand.Dead, "permanent", "result"},
		{"no room for a retry", "flaky", "no-room", nil, append([]byte(`{"fail":1}`), pad(limit-10-300, ' ')...), millhand.Dead, "permanent", ""},
		{"panic", "crash", "panic", nats.Header{"Millhand-Max-Attempts": {"1"}}, []byte("{}"), millhand.Dead, "exhausted", "panic"},
	}
	refs := make([]millhand.Ref, len(tests))
	for i, tt := range tests {
		refs[i] = publish(t, js, tt.typ, tt.id, tt.header, tt.payload)
	}
	rawPublish(t, b.URL, "millhand.default.ready.echo.raw", "NATS/1.0\r\nno colon\r\nMillhand-Attempt: 3\r\n\r\n", `"raw"`)
	info, err := awaitPublished(t, b.URL, millhand.Ref{Type: "echo", ID: "raw"})
	if !errors.Is(err, millhand.ErrFailed) || info.Reason != "malformed" {
		t.Errorf("job with unreadable headers: %+v, %v; want it dead, since its settings cannot be known", info, err)
	}
	subjects := []string{"millhand.default.ready.echo.*"}
	for _, id := range []string{"a:b", "größe", "a/b=c$d", strings.Repeat("x", 200), strings.Repeat("x", 4000)} {
		subjects = append(subjects, "millhand.default.ready.echo."+id)
	}
	for _, s := range subjects {
		rawPublish(t, b.URL, s, "NATS/1.0\r\n\r\n", "{}")
	}
	events := conserved(t, b.URL, refs)
	wantBuried(t, js, subjects)
	for i, tt := range tests {
		if len(events[refs[i]]) == 0 {
			continue // said already
		}
		last := events[refs[i]][len(events[refs[i]])-1]
		if last.State != tt.state || last.Reason != tt.reason || !strings.Contains(last.Error, tt.error) {
			t.Errorf("%s: %s, reason %q, error %.200q; want %s, %q, %q", tt.name, last.State, last.Reason, last.Error, tt.state, tt.reason, tt.error)
		}
		if got := last.Output(); tt.state == millhand.Succeeded && !bytes.Equal(got, tt.payload) {
			t.Errorf("%s: result %.100q, want the payload %.100q", tt.name, got, tt.payload)
		}
	}
	w.signal(t, syscall.SIGTERM)
	if code := w.wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// wantBuried checks that what was published under ids that no job can have is dead under names of the worker's own.
func wantBuried(t *testing.T, js jetstream.JetStream, subjects []string) {
	t.Helper()
	st, err := js.Stream(t.Context(), "millhand-dead")
	if err != nil {
		t.Fatal(err)
	}
	buried := make(map[string]bool)
	info := st.CachedInfo().State
	for seq := info.FirstSeq; seq <= info.LastSeq; seq++ {
		m, err := st.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(m.Subject, "millhand.dead.default.echo.malformed-") && m.Header.Get("Millhand-Reason") == "malformed" {
			buried[m.Header.Get("Millhand-Subject")] = true
		}
	}
	for _, s := range subjects {
		if !buried[s] {
			t.Errorf("no dead record of what was published to %.80q; there are %d", s, len(buried))
		}
	}
}

// rawPublish publishes headers that no client library would.
func rawPublish(t *testing.T, url, subject, header, payload string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "CONNECT {\"headers\":true,\"verbose\":false,\"pedantic\":false}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		subject, len(header), len(header)+len(payload), header, payload)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "-ERR") {
			t.Fatal(lines.Text())
		}
		if lines.Text() == "PONG" {
			return
		}
	}
	t.Fatal("the broker hung up")
}

// Jobs of a type that nobody handles wait, and the worker says so once.
func TestUnknownTypeWaits(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	js := jetStream(t, b.URL)
	w := startWorker(t, b.URL)
	publish(t, js, "ghost", "1", nil, nil)
	publish(t, js, "ghost", "2", nil, nil)
	w.awaitLog(t, "jobs wait of a type that this worker has no handler for")
	publish(t, js, "ghost", "3", nil, nil)
	publish(t, js, "spook", "1", nil, nil)
	w.awaitLog(t, "type=spook") // at the next look
	if n := w.log.count("type=ghost"); n != 1 {
		t.Errorf("said %d times that jobs of type ghost wait, want once", n)
	}
	later := startWorker(t, b.URL, "--exec", "ghost=cat", "--exec", "spook=cat")
	awaitEmpty(t, js, "default")
	later.signal(t, syscall.SIGTERM)
	later.wait(t)
}
