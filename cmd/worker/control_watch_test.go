//go:build unix

package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

// Whoever watches a job sees how far its command is.
func TestProgressOfACommandIsWatched(t *testing.T) {
	t.Parallel()
	seen := filepath.Join(t.TempDir(), "seen") // the command goes on when its progress was
	if err := syscall.Mkfifo(seen, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := broker.Start(broker.Config{Store: t.TempDir(), Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	nc, err := nats.Connect(b.ClientURL(), millhand.ConnectOptions(log)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	mux := millhand.NewMux()
	mux.HandleFunc("import", execHandler(t, newTestMinder(t), "sh", "-c", `echo "progress 1/2 half of it" >&3; read line <"$0"`, seen))
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Config: millhand.Config{Logger: log}, Mux: mux})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	defer running.Wait()
	defer stop()
	client, err := millhand.NewClient(nc, millhand.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := client.Enqueue(ctx, millhand.Raw{Name: "import"})
	if err != nil {
		t.Fatal(err)
	}
	var half bool
	for info, err := range client.Watch(ctx, ref) {
		if err != nil {
			t.Fatal(err)
		}
		if p := info.Progress; p.Done == 1 && p.Total == 2 && p.Note == "half of it" && !half {
			half = true
			if err := os.WriteFile(seen, []byte("yes\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if info.State.Final() && info.State != millhand.Succeeded {
			t.Errorf("it ended as %s", info.State)
		}
	}
	if !half {
		t.Error("no progress was seen")
	}
}
