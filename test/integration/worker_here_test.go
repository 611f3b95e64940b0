package integration

import (
	"context"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

// runWorker runs a worker in this process until the test ends.
func runWorker(t *testing.T, url string, cfg millhand.WorkerConfig) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	nc, err := nats.Connect(url, append(millhand.ConnectOptions(log), nats.Timeout(patience))...)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger = log
	w, err := millhand.NewWorker(nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("worker: %v", err)
		}
		nc.Close()
	})
}
