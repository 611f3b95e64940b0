package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

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
