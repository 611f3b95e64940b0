package main

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

// Of workers that are started together on a host, one has the broker and the others use it.
func TestWorkersStartedTogether(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	const workers = 6
	processes := make([]*process, workers)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var started, ended sync.WaitGroup
	for i := range processes {
		p := &process{listen: address, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
		processes[i] = p
		started.Add(1)
		p.config = millhand.WorkerConfig{Config: millhand.Config{Logger: p.log}, Mux: millhand.NewMux()}
		addBuiltin(p.config.Mux)
		p.connect = func(ctx context.Context) (*nats.Conn, error) {
			defer started.Done()
			return p.connectOwn(ctx)
		}
		ended.Go(func() {
			if err := p.run(ctx); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	started.Wait()
	brokers := 0
	for _, p := range processes {
		if p.broker.Load() != nil {
			brokers++
		}
	}
	stop()
	ended.Wait()
	if brokers != 1 {
		t.Errorf("%d brokers, want 1", brokers)
	}
}

// One that has the store and does not listen where the others look may be about to go.
func TestWorkerWaitsForTheStore(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	store, err := broker.DefaultStore()
	if err != nil {
		t.Fatal(err)
	}
	before, err := broker.Start(broker.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{listen: "127.0.0.1:0", log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if _, err := p.startBroker(); err == nil {
		t.Fatal("two brokers on one store")
	}
	started := make(chan error, 1)
	go func() {
		b, err := p.shareBroker(t.Context())
		if err == nil {
			b.Shutdown()
		}
		started <- err
	}()
	before.Shutdown()
	if err := <-started; err != nil {
		t.Errorf("shareBroker = %v once the store is free", err)
	}
}
