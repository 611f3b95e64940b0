package broker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// holdStoreEnv makes the test binary a broker on the store it names, until it is killed.
const holdStoreEnv = "BROKER_TEST_HOLD_STORE"

func TestMain(m *testing.M) {
	if store := os.Getenv(holdStoreEnv); store != "" {
		if _, err := Start(Config{Store: store}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent kills us or goes away
		return
	}
	os.Exit(m.Run())
}

func TestMessagesSurviveRestart(t *testing.T) {
	store := t.TempDir()
	const messages = 100

	b := start(t, Config{Store: store})
	js := jetStream(t, b)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		if _, err := js.Publish(t.Context(), "s."+strconv.Itoa(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	b.Shutdown()

	if got := messageCount(t, jetStream(t, start(t, Config{Store: store})), "S"); got != messages {
		t.Errorf("%d messages after a restart, want %d", got, messages)
	}
}

func TestStoreIsLockedWithinProcess(t *testing.T) {
	store := t.TempDir()
	b := start(t, Config{Store: store})

	_, err := Start(Config{Store: store})
	if !errors.Is(err, ErrStoreLocked) || errors.Is(err, ErrAddressInUse) {
		t.Errorf("second Start = %v, want ErrStoreLocked only", err)
	}
	for _, want := range []string{store, strconv.Itoa(os.Getpid()), "--store"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("second Start = %q, does not say %q", err, want)
		}
	}

	b.Shutdown()
	start(t, Config{Store: store})
}

// Those who cannot have the store do not take each other for its broker.
func TestManyWantAStoreWhoseBrokerDoesNotListen(t *testing.T) {
	store := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err := lockStore(store)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if _, err := Start(Config{Store: store, Port: port}); !errors.Is(err, ErrStoreLocked) || errors.Is(err, ErrAddressInUse) {
					t.Errorf("Start = %v, want ErrStoreLocked only", err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestStoreIsLockedBetweenProcesses(t *testing.T) {
	store := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), self)
	other.Env = append(os.Environ(), holdStoreEnv+"="+store)
	if _, err := other.StdinPipe(); err != nil { // closed when we die, which ends it
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("other process: %q, %v", line, err)
	}

	_, err = Start(Config{Store: store})
	if want := strconv.Itoa(other.Process.Pid); !errors.Is(err, ErrStoreLocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("Start beside another process = %v, want ErrStoreLocked naming process %s", err, want)
	}

	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was killed
	start(t, Config{Store: store})
}

func TestAnyFreePort(t *testing.T) {
	for _, port := range []int{0, -1} {
		b := start(t, Config{Store: t.TempDir(), Port: port})
		nc, err := nats.Connect(b.ClientURL())
		if err != nil {
			t.Errorf("port %d: connect to %s: %v", port, b.ClientURL(), err)
			continue
		}
		if got := nc.MaxPayload(); got != PayloadLimit+HeaderRoom {
			t.Errorf("MaxPayload = %d, want %d", got, PayloadLimit+HeaderRoom)
		}
		nc.Close()
	}
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	store := t.TempDir()

	_, err = Start(Config{Store: store, Port: port})
	if !errors.Is(err, ErrAddressInUse) || errors.Is(err, ErrStoreLocked) {
		t.Errorf("Start = %v, want ErrAddressInUse only", err)
	}
	if !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Start = %q, does not name %s", err, l.Addr())
	}

	start(t, Config{Store: store}) // the attempt left no lock behind
	_, err = Start(Config{Store: store, Port: port})
	if !errors.Is(err, ErrAddressInUse) || !errors.Is(err, ErrStoreLocked) {
		t.Errorf("Start = %v, want both ErrStoreLocked and ErrAddressInUse", err)
	}
}

func TestPortLostAfterProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	b := &Broker{
		cfg: Config{Store: t.TempDir(), Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port},
		log: slog.New(slog.DiscardHandler),
	}
	if err := b.serve(); !errors.Is(err, ErrAddressInUse) {
		t.Errorf("serve = %v, want ErrAddressInUse", err)
	}
}

// The server only logs a fatal error and stays half started.
func TestFatalServerErrorIsReturned(t *testing.T) {
	store := t.TempDir()
	notADir := filepath.Join(store, "jetstream")
	if err := os.WriteFile(notADir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Config{Store: store}); err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("Start = %v, want the reason why JetStream did not start", err)
	}

	if err := os.Remove(notADir); err != nil {
		t.Fatal(err)
	}
	start(t, Config{Store: store})
}

func TestRunEndsWithContext(t *testing.T) {
	store := t.TempDir()
	b := start(t, Config{Store: store})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	start(t, Config{Store: store}) // the store is free
	if err := b.Run(t.Context()); err == nil {
		t.Error("Run after Shutdown = nil, want an error")
	}
}

// What a supervisor does with a broker whose server failed.
func TestRunServesAgainAfterFailure(t *testing.T) {
	failures := map[string]struct {
		fail func(t *testing.T, b *Broker)
		want error
	}{
		"server stopped": {func(t *testing.T, b *Broker) {
			t.Helper()
			if err := stop(b.srv.Load()); err != nil {
				t.Fatal(err)
			}
		}, errStopped},
		"disk full": {func(t *testing.T, b *Broker) {
			t.Helper()
			if err := b.srv.Load().ShutdownJetStream(); err != nil { // what the server does then
				t.Fatal(err)
			}
		}, errNoJetStream},
	}
	for name, tt := range failures {
		t.Run(name, func(t *testing.T) {
			b := start(t, Config{Store: t.TempDir()})
			url := b.ClientURL()
			js := jetStream(t, b)
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "s", nil); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			tt.fail(t, b)
			if err := b.watch(ctx); !errors.Is(err, tt.want) {
				t.Fatalf("watch = %v, want %v", err, tt.want)
			}

			back := js.Conn().StatusChanged(nats.CONNECTED)
			ran := make(chan error, 1)
			go func() { ran <- b.Run(ctx) }()
			select {
			case <-back:
			case err := <-ran:
				t.Fatalf("Run = %v, want it to serve", err)
			}
			if got := messageCount(t, js, "S"); got != 1 {
				t.Errorf("%d messages after the failure, want 1", got)
			}
			if got := b.ClientURL(); got != url {
				t.Errorf("ClientURL = %s after the failure, was %s", got, url)
			}
			cancel()
			if err := <-ran; err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
		})
	}
}

func TestForeignClients(t *testing.T) {
	b := start(t, Config{Store: t.TempDir()})
	jetStream(t, b) // in-process
	if got := b.ForeignClients(); got != 0 {
		t.Errorf("ForeignClients = %d, want 0", got)
	}
	nc, err := nats.Connect(b.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := b.ForeignClients(); got != 1 {
		t.Errorf("ForeignClients = %d, want 1", got)
	}
}

// A stopped process answers no ping, but its connection stays open.
func TestSilentClientIsClosedWithinLease(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the 6 s it measures")
	}
	b := start(t, Config{Store: t.TempDir()})
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.ClientURL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("CONNECT {\"verbose\":false}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	const lease = 30 * time.Second
	if err := conn.SetReadDeadline(time.Now().Add(lease / 2)); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(conn) // until the server closes
	if err != nil || !strings.Contains(string(out), "Stale Connection") {
		t.Errorf("the server said %q, %v; want it to close a stale connection", out, err)
	}
}

func TestOpenDoorIsLogged(t *testing.T) {
	for host, want := range map[string]bool{"": false, "127.0.0.1": false, "localhost": false, "0.0.0.0": true} {
		var log bytes.Buffer
		start(t, Config{Store: t.TempDir(), Host: host, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if got := strings.Contains(log.String(), "level=WARN"); got != want {
			t.Errorf("host %q: warned = %t, want %t; log: %s", host, got, want, log.String())
		}
	}
}

func TestClientURLAnswers(t *testing.T) {
	for _, host := range []string{"", "0.0.0.0", "::"} {
		b := start(t, Config{Store: t.TempDir(), Host: host, Port: -1})
		nc, err := nats.Connect(b.ClientURL())
		if err != nil {
			t.Errorf("host %q: %s: %v", host, b.ClientURL(), err)
			continue
		}
		nc.Close()
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"0.0.0.0:4222":    "127.0.0.1:4222",
		"[::]:4222":       "[::1]:4222",
		"127.0.0.1:4222":  "127.0.0.1:4222",
		"10.1.2.3:4222":   "10.1.2.3:4222",
		"[fe80::1]:4222":  "[fe80::1]:4222",
		"nats.example:80": "nats.example:80",
		"nonsense":        "nonsense",
	} {
		if got := Reachable(address); got != want {
			t.Errorf("Reachable(%s) = %s, want %s", address, got, want)
		}
	}
}

func TestDefaultStore(t *testing.T) {
	t.Setenv("HOME", "/home/x")
	for xdg, want := range map[string]string{
		"":         "/home/x/.local/share/millhand",
		"relative": "/home/x/.local/share/millhand",
		"/data":    "/data/millhand",
	} {
		t.Setenv("XDG_DATA_HOME", xdg)
		if got, err := DefaultStore(); got != want || err != nil {
			t.Errorf("DefaultStore() with XDG_DATA_HOME=%q = %q, %v, want %q", xdg, got, err, want)
		}
	}
}

func start(t *testing.T, cfg Config) *Broker {
	t.Helper()
	b, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	return b
}

// jetStream connects in-process, as a worker does.
func jetStream(t *testing.T, b *Broker) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(b), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func messageCount(t *testing.T, js jetstream.JetStream, stream string) uint64 {
	t.Helper()
	st, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return st.CachedInfo().State.Msgs
}
