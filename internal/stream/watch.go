package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	watchPause     = 200 * time.Millisecond // before a watch that failed begins again
	watchHeartbeat = 2 * time.Second        // silence of twice that is the end of its consumer
	watchExpiry    = 20 * time.Second
	watchAckWait   = 2 * time.Second // what was lost on its way comes again after this
	watchIdle      = time.Minute     // a consumer that nobody asks is removed

	// watchPatience is how long a watch that has kept up waits for an answer at first, when it
	// begins again; each time that there was none, it waits twice as long. A request that is lost
	// must not keep it behind for longer than a node may act on what was set before.
	watchPatience = 250 * time.Millisecond
)

// A Watcher is told what keys are and how they change.
type Watcher interface {
	// Changed tells a key's newest value or its end. An error ends the watch.
	Changed(ctx context.Context, e Entry) error
	// Synced says that all is told as it was a moment ago. After an error it is told again.
	Synced(ctx context.Context) error
	// Failed says that the watch cannot keep up at the moment, and tries again.
	Failed(ctx context.Context, err error)
	// Lost says that the bucket was lost and is made again, without these entries. It may write
	// them again. After an error it is told again.
	Lost(ctx context.Context, entries []Entry) error
}

// A Watch keeps up with the keys of its filters, however many there are. It misses nothing that
// stays: after its consumer was lost, all is read again.
type Watch struct {
	bucket  *Bucket
	watcher Watcher
	filters []string

	live     map[string]Entry
	made     time.Time     // when the bucket was
	patience time.Duration // of the present attempt, for each request that sets it up

	restart atomic.Pointer[context.CancelFunc] // ends the present attempt
}

// Watch returns a watch of the keys that match one of the filters, which tells w.
func (b *Bucket) Watch(w Watcher, filters ...string) *Watch {
	return &Watch{bucket: b, watcher: w, filters: filters, live: make(map[string]Entry), patience: SetupTimeout}
}

// Hurry has the watch begin with the patience of one that has kept up: somebody acts on what an
// earlier watch told. It must be called before Run.
func (w *Watch) Hurry() { w.patience = watchPatience }

// Restart has all read again. It is for a connection that was lost meanwhile: with the broker the
// consumer may have been, which would otherwise be noticed by its silence only.
func (w *Watch) Restart() {
	if cancel := w.restart.Load(); cancel != nil {
		(*cancel)()
	}
}

// Run tells the watcher until ctx ends, whose cause it returns, or until [Watcher.Changed] fails,
// whose error it returns. It can be called once.
func (w *Watch) Run(ctx context.Context) error {
	for {
		try, cancel := context.WithCancel(ctx)
		w.restart.Store(&cancel)
		err := w.once(ctx, try)
		restarted := try.Err() != nil
		cancel()
		if own, ok := errors.AsType[*watcherError](err); ok {
			return own.err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !restarted {
			w.watcher.Failed(ctx, err)
		}
		w.bucket.client.log.DebugContext(ctx, "reads a bucket again", slog.String("bucket", w.bucket.name), slog.Any("err", err))
		if restarted {
			w.patience = 0
		}
		w.patience = min(max(2*w.patience, watchPatience), SetupTimeout)
		if err := Sleep(ctx, watchPause); err != nil {
			return err
		}
	}
}

// watcherError is an error of [Watcher.Changed].
type watcherError struct{ err error }

func (e *watcherError) Error() string { return e.err.Error() }

// once reads all there is, and what changes until the consumer fails or try ends. The watcher is
// told with ctx: what it was not told since an attempt ended would be missing.
func (w *Watch) once(ctx, try context.Context) error {
	if err := w.open(try); err != nil {
		return err
	}
	entries, upTo, err := w.read(try)
	if err != nil {
		return err
	}
	if err := w.compare(ctx, entries, upTo); err != nil {
		return err
	}
	msgs, err := w.consume(try, upTo+1)
	if err != nil {
		return err
	}
	defer context.AfterFunc(try, msgs.Stop)()
	defer msgs.Stop()
	if err := w.watcher.Synced(ctx); err != nil {
		return err
	}
	w.patience = 0
	for {
		m, err := msgs.Next()
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		md, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		e := w.bucket.entry(m.Subject(), md.Sequence.Stream, m.Headers(), m.Data())
		e.Time = md.Timestamp
		if err := w.tell(ctx, e); err != nil {
			return err
		}
		_ = m.Ack() // or it comes again
	}
}

// open makes sure of the bucket.
func (w *Watch) open(ctx context.Context) error {
	made, err := w.ensure(ctx)
	if err != nil {
		return err
	}
	if !w.made.IsZero() && !made.Equal(w.made) {
		w.bucket.client.log.WarnContext(ctx, "the broker had lost a bucket: made again", slog.String("bucket", w.bucket.name))
		if err := w.watcher.Lost(ctx, slices.Collect(maps.Values(w.live))); err != nil {
			return err
		}
		for key, e := range w.live { // revisions begin again
			e.Rev = 0
			w.live[key] = e
		}
	}
	w.made = made
	return nil
}

func (w *Watch) ensure(ctx context.Context) (made time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	return w.bucket.Open(ctx)
}

// compare tells how all the entries that there are differ from what is known.
func (w *Watch) compare(ctx context.Context, entries []Entry, upTo uint64) error {
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		there[e.Key] = true
		if err := w.tell(ctx, e); err != nil {
			return err
		}
	}
	for key := range w.live {
		if there[key] {
			continue
		}
		if err := w.tell(ctx, Entry{Key: key, Rev: max(upTo, w.live[key].Rev+1), Expired: true}); err != nil {
			return err
		}
	}
	return nil
}

// read waits no longer than the patience for its first answer.
func (w *Watch) read(ctx context.Context) (entries []Entry, upTo uint64, err error) {
	short, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	entries, upTo, err = w.bucket.ReadAtOnce(short, w.filters...)
	if errors.Is(err, ErrTooMany) {
		return w.bucket.readOneByOne(ctx, w.filters)
	}
	return entries, upTo, err
}

// tell passes on what is newer than what is known.
func (w *Watch) tell(ctx context.Context, e Entry) error {
	known, seen := w.live[e.Key]
	switch {
	case seen && e.Rev <= known.Rev:
		return nil
	case e.Value == nil && !seen:
		return nil // gone before we came
	case e.Value == nil:
		delete(w.live, e.Key)
	default:
		w.live[e.Key] = e
	}
	if err := w.watcher.Changed(ctx, e); err != nil {
		return &watcherError{err}
	}
	return nil
}

// consume makes a consumer of what comes after the snapshot. Its messages are acknowledged, so that
// one which is lost comes again.
func (w *Watch) consume(ctx context.Context, from uint64) (jetstream.MessagesContext, error) {
	ctx, cancel := context.WithTimeout(ctx, w.patience)
	defer cancel()
	subjects := make([]string, len(w.filters))
	for i, key := range w.filters {
		subjects[i] = w.bucket.subject(key)
	}
	c, err := w.bucket.client.CreateConsumer(ctx, w.bucket.stream, jetstream.ConsumerConfig{
		FilterSubjects: subjects,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: watchAckWait, MaxDeliver: -1, MaxAckPending: -1,
		InactiveThreshold: watchIdle, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	msgs, err := c.Messages(jetstream.PullExpiry(watchExpiry), jetstream.PullHeartbeat(watchHeartbeat))
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return msgs, nil
}
