package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"

	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/gc"
)

// A brokerSpec says what a broker process serves.
type brokerSpec struct {
	Store string
}

func startBroker(_ context.Context, spec brokerSpec) (methods, func() error, error) {
	gc.Tune() // as a worker does that embeds it
	b, err := broker.Start(broker.Config{Store: spec.Store, Port: -1, Logger: quiet()})
	if err != nil {
		return nil, nil, err
	}
	stop := func() error { b.Shutdown(); return nil }
	return methods{"url": func(json.RawMessage) (any, error) { return b.ClientURL(), nil }}, stop, nil
}

// quiet logs errors only: the reader of a table needs nothing else.
func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
