package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

// A tracker enqueues the jobs of a soak, and follows what happens to them.
type tracker struct {
	nc     *nats.Conn
	client *millhand.Client
	types  []string
	begun  time.Time
	next   int // number of the next job

	mu       sync.Mutex
	ends     map[string]int // by id of each job that was enqueued or ended
	enqueued int
	ended    int
	again    int // ends after the first, which must not be
	retried  int
	lost     int
	moved    time.Time // when a job ended last
}

// openTracker is for a broker whose streams exist. Its memory can only be flat once it
// forgets as much as it learns. With the defaults that is after a week; here it is after
// twice the lease, the least that keeps two holders of a job apart.
func openTracker(ctx context.Context, url string, lease time.Duration) (*tracker, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	t := &tracker{nc: nc, types: slices.Sorted(maps.Keys(soakTypes())), begun: time.Now(), ends: make(map[string]int)}
	if t.client, err = millhand.NewClient(nc, millhand.Config{Logger: quiet()}); err == nil {
		err = bound(ctx, nc, lease)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return t, nil
}

func (t *tracker) close() { t.nc.Close() }

// bound does what an operator may do to the streams: workers leave it so.
func bound(ctx context.Context, nc *nats.Conn, lease time.Duration) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for _, name := range []string{"millhand-events", "millhand-queue-" + defaultQueue} {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		cfg := stream.CachedInfo().Config
		cfg.Duplicates = min(cfg.Duplicates, lease)
		if cfg.MaxAge > 0 { // not of a queue
			cfg.MaxAge = 2 * lease
		}
		if _, err := js.UpdateStream(ctx, cfg); err != nil {
			return err
		}
	}
	return nil
}

// enqueue enqueues this many jobs, of each type in turn.
func (t *tracker) enqueue(ctx context.Context, jobs int) error {
	batch := make([]millhand.Request, jobs)
	for i := range batch {
		batch[i].Args = millhand.Raw{Name: t.types[t.next%len(t.types)], Payload: newPayload(t.next, time.Now())}
		t.next++
	}
	refs, err := t.client.EnqueueMany(ctx, batch)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enqueued += len(refs)
	for _, ref := range refs {
		t.ends[ref.ID] += 0 // it may have ended already
	}
	return nil
}

// follow reads the events until ctx ends.
func (t *tracker) follow(ctx context.Context) error {
	for e, err := range t.client.Events(ctx, t.begun) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		t.note(e)
	}
	return nil
}

func (t *tracker) note(e millhand.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case e.State.Final():
		t.moved = time.Now()
		if t.ends[e.ID]++; t.ends[e.ID] > 1 {
			t.again++
			return
		}
		t.ended++
	case e.State == millhand.Retrying:
		t.retried++
	default:
		t.lost++
	}
}

// open counts the jobs that have not ended.
func (t *tracker) open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.enqueued - t.ended
}

func (t *tracker) counts() (ended, retried, lost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended, t.retried, t.lost
}

var (
	errMissing = errors.New("jobs are missing")
	errAgain   = errors.New("jobs ended more than once")
)

// awaitEnds returns when every job has ended, or none has for a while.
func (t *tracker) awaitEnds(ctx context.Context) error {
	for t.open() > 0 {
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
		t.mu.Lock()
		silent := time.Since(t.moved)
		t.mu.Unlock()
		if silent > patience {
			return fmt.Errorf("%w: %d of %d", errMissing, t.open(), t.next)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.again > 0 || t.ended != t.next || len(t.ends) != t.next {
		return fmt.Errorf("%w: %d, of %d jobs %d ended, %d ids are known", errAgain, t.again, t.next, t.ended, len(t.ends))
	}
	return nil
}
