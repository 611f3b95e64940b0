package view

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

const (
	// patience is how long one answer is waited for: a stream without a leader gives none.
	patience = time.Second
	// maxAsked is how many requests of a snapshot are under way at once.
	maxAsked = 16
)

// facts are what the broker and the registry said, before anything is made of it.
type facts struct {
	names     []queue.StreamName
	streams   map[string]*jetstream.StreamInfo // by name; nil for none that was read
	consumers map[string]stream.ConsumerList   // by queue
	registry  registry.Survey
	surveyed  bool // the registry was read
	asked     time.Time
	missing   []Missing
}

// gather asks: once for the names of the streams, then for each stream's state, for each queue's
// consumers and for the registry, all at the same time.
func (v *View) gather(ctx context.Context) (*facts, error) {
	f := &facts{streams: make(map[string]*jetstream.StreamInfo), consumers: make(map[string]stream.ConsumerList), asked: time.Now()}
	var err error
	if f.names, err = within(ctx, v.cfg.Store.Streams); err != nil {
		return nil, err
	}
	var mu sync.Mutex // guards f
	note := func(what, queueName string, err error, write func()) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			write()
		case !gone(err):
			f.missing = append(f.missing, Missing{What: what, Queue: queueName, Err: err, Why: err.Error()})
		}
	}
	var g errgroup.Group
	g.SetLimit(maxAsked)
	g.Go(func() error {
		survey, err := within(ctx, v.cfg.Registry.Survey)
		note(MissingRegistry, "", err, func() { f.registry, f.surveyed = survey, true })
		return nil
	})
	for _, n := range f.names {
		g.Go(func() error {
			info, err := within(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) { return v.cfg.Store.StreamInfo(ctx, n.Name) })
			note("stream "+n.Name, "", err, func() { f.streams[n.Name] = info })
			return nil
		})
		if !isQueue(n) {
			continue
		}
		g.Go(func() error {
			list, err := v.cfg.Store.Consumers(ctx, n.Queue)
			note("consumers of queue "+n.Queue.String(), n.Queue.String(), err, func() { f.consumers[n.Queue.String()] = list })
			return nil
		})
	}
	_ = g.Wait() // what failed is missing
	return f, nil
}

// within is one request with patience.
func within[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return ask(ctx)
}

// gone reports whether err says that a stream was removed meanwhile.
func gone(err error) bool {
	return errors.Is(err, queue.ErrNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

func isQueue(n queue.StreamName) bool { return n.Queue.String() != "" }
