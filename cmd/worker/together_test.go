package main

import (
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/cli"
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
	sessions := make([]*session, workers)
	var wg sync.WaitGroup
	for i := range sessions {
		sessions[i] = &session{command: &command{listen: address}, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
		wg.Go(func() {
			nc, err := sessions[i].connect(t.Context(), cli.Target{})
			if err != nil {
				t.Errorf("worker %d: %v", i, err)
				return
			}
			nc.Close()
		})
	}
	wg.Wait()
	brokers := 0
	for _, s := range sessions {
		if s.broker != nil {
			brokers++
			s.broker.Shutdown()
		}
	}
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
	s := &session{command: &command{listen: "127.0.0.1:0"}, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if _, err := s.startBroker(); err == nil {
		t.Fatal("two brokers on one store")
	}
	started := make(chan error, 1)
	go func() {
		b, err := s.shareBroker(t.Context())
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
