package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/gc"
)

// A brokerSpec says what a broker process serves.
type brokerSpec struct {
	Store  string
	Synced bool // every write is synced to disk, as no embedded broker does
}

func startBroker(_ context.Context, spec brokerSpec) (methods, func() error, error) {
	if spec.Synced {
		return startSynced(spec)
	}
	gc.Tune() // as a worker does that embeds it
	b, err := broker.Start(broker.Config{Store: spec.Store, Port: -1, Logger: quiet()})
	if err != nil {
		return nil, nil, err
	}
	stop := func() error { b.Shutdown(); return nil }
	return methods{"url": func(json.RawMessage) (any, error) { return b.ClientURL(), nil }}, stop, nil
}

// startSynced runs a server by itself as docs/operations.md has it for production.
func startSynced(spec brokerSpec) (methods, func() error, error) {
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true,
		JetStream: true, StoreDir: spec.Store, SyncAlways: true, MaxPayload: broker.PayloadLimit + broker.HeaderRoom,
	})
	if err != nil {
		return nil, nil, err
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		return nil, nil, errors.New("the server does not get ready")
	}
	stop := func() error { srv.Shutdown(); srv.WaitForShutdown(); return nil }
	return methods{"url": func(json.RawMessage) (any, error) { return srv.ClientURL(), nil }}, stop, nil
}

// quiet logs errors only: the reader of a table needs nothing else.
func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
