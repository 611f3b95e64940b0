package explain_test

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/pipeline"
	from "github.com/millhand/millhand/pipeline/stream"
)

// read starts a pipeline that reads a stream, until stop is called.
func (m *mill) read(name string) (stop func()) {
	m.Helper()
	js, err := jetstream.New(m.nc)
	m.must(err)
	_, err = js.CreateStream(m.ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}})
	m.must(err)
	log := slog.New(slog.DiscardHandler)
	source, err := from.NewSource(m.nc, from.SourceConfig{Stream: name, Durable: "d", Dead: from.Drop, Logger: log}, from.JSON[int])
	m.must(err)
	p, err := pipeline.New(pipeline.Config[int]{
		Name: "books", Source: source, Logger: log, Process: func(context.Context, *pipeline.Message[int]) error { return nil },
	})
	m.must(err)
	ctx, cancel := context.WithCancel(m.ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	m.sleep(2 * time.Second)
	return func() { cancel(); running.Wait() }
}
