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

// A ledger enqueues the jobs of a soak, and follows what happens to them.
type ledger struct {
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

// openLedger is for a broker whose streams exist. Its memory can only be flat once it
// forgets as much as it learns. With the defaults that is after a week; here it is after
// twice the lease, the least that keeps two holders of a job apart.
func openLedger(ctx context.Context, url string, lease time.Duration) (*ledger, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	l := &ledger{nc: nc, types: slices.Sorted(maps.Keys(soakTypes())), begun: time.Now(), ends: make(map[string]int)}
	if l.client, err = millhand.NewClient(nc, millhand.Config{Logger: quiet()}); err == nil {
		err = bound(ctx, nc, lease)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return l, nil
}

func (l *ledger) close() { l.nc.Close() }

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

// enqueue enqueues so many jobs, in turn of each type.
func (l *ledger) enqueue(ctx context.Context, jobs int) error {
	batch := make([]millhand.Request, jobs)
	for i := range batch {
		batch[i].Args = millhand.Raw{Name: l.types[l.next%len(l.types)], Payload: newPayload(l.next, time.Now())}
		l.next++
	}
	refs, err := l.client.EnqueueMany(ctx, batch)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.enqueued += len(refs)
	for _, r := range refs {
		l.ends[r.ID] += 0 // it may have ended already
	}
	return nil
}

// follow reads the events until ctx ends.
func (l *ledger) follow(ctx context.Context) error {
	for e, err := range l.client.Events(ctx, l.begun) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		l.note(e)
	}
	return nil
}

func (l *ledger) note(e millhand.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case e.State.Final():
		l.moved = time.Now()
		if l.ends[e.ID]++; l.ends[e.ID] > 1 {
			l.again++
			return
		}
		l.ended++
	case e.State == millhand.Retrying:
		l.retried++
	default:
		l.lost++
	}
}

// open counts the jobs that have not ended.
func (l *ledger) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.enqueued - l.ended
}

func (l *ledger) counts() (ended, retried, lost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended, l.retried, l.lost
}

var (
	errMissing = errors.New("jobs are missing")
	errAgain   = errors.New("jobs ended more than once")
)

// awaitEnds returns when every job has ended, or none has for a while.
func (l *ledger) awaitEnds(ctx context.Context) error {
	for l.open() > 0 {
		if err := pause(ctx, lookEvery); err != nil {
			return err
		}
		l.mu.Lock()
		silent := time.Since(l.moved)
		l.mu.Unlock()
		if silent > patience {
			return fmt.Errorf("%w: %d of %d", errMissing, l.open(), l.next)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.again > 0 || l.ended != l.next || len(l.ends) != l.next {
		return fmt.Errorf("%w: %d, of %d jobs %d ended, %d ids are known", errAgain, l.again, l.next, l.ended, len(l.ends))
	}
	return nil
}
