package registry

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
	followPause     = 200 * time.Millisecond // before a follower that failed begins anew
	followHeartbeat = 2 * time.Second        // silence of twice that is the end of its consumer
	followExpiry    = 20 * time.Second
	followAckWait   = 2 * time.Second // what was lost on its way comes again after this
	followIdle      = time.Minute     // a consumer that nobody asks is removed

	// followPatience is how long a follower that has kept up waits for an answer at first, when
	// it begins anew; each time that there was none, it waits twice as long. A request that is
	// lost must not keep it behind for longer than a node may act on the limits of before.
	followPatience = 250 * time.Millisecond
)

// A follower keeps up with the keys of its filters: what they are, and how they change. It
// misses nothing that stays: a consumer that is lost is made anew, after all was read again.
type follower struct {
	store   *Store
	filters []string

	changed func(entry) error                  // a key's newest value, or its end; an error ends the follower
	synced  func() error                       // all is told as it was a moment ago; after an error, it is told again
	failed  func(error)                        // it cannot keep up at the moment, and tries again; nil: so be it
	lost    func(context.Context, entry) error // the bucket was lost, and with it this entry; nil: so be it

	live     map[string]entry
	made     time.Time     // when the bucket was
	patience time.Duration // of the present attempt, for each request that sets it up

	begin atomic.Pointer[context.CancelFunc] // ends the present attempt
}

// anew has all read again: the connection was lost meanwhile, and with the broker the
// consumer may have been, which would be noticed by its silence only.
func (f *follower) anew() {
	if cancel := f.begin.Load(); cancel != nil {
		(*cancel)()
	}
}

// run follows until ctx ends or changed fails, whose error it returns.
func (f *follower) run(ctx context.Context) error {
	f.live = make(map[string]entry)
	if f.patience == 0 {
		f.patience = setupTimeout // nobody acts on what was never told, and there may be much to make
	}
	for {
		try, cancel := context.WithCancel(ctx)
		f.begin.Store(&cancel)
		err := f.once(try)
		told := try.Err() != nil // by anew
		cancel()
		if own, ok := errors.AsType[*ownError](err); ok {
			return own.err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if f.failed != nil && !told {
			f.failed(err)
		}
		f.store.log.DebugContext(ctx, "reads the registry anew", slog.Any("err", err))
		if told {
			f.patience = 0
		}
		f.patience = min(max(2*f.patience, followPatience), setupTimeout)
		if err := sleep(ctx, followPause); err != nil {
			return err
		}
	}
}

// ownError is that of a follower's own functions.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }

// once reads all there is, and what changes until the consumer fails.
func (f *follower) once(ctx context.Context) error {
	if err := f.open(ctx); err != nil {
		return err
	}
	from, err := f.snapshot(ctx)
	if err != nil {
		return err
	}
	msgs, err := f.consume(ctx, from)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, msgs.Stop)()
	defer msgs.Stop()
	if err := f.synced(); err != nil {
		return err
	}
	f.patience = 0
	for {
		m, err := msgs.Next()
		if err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		md, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		if err := f.tell(f.store.entry(m.Subject(), md.Sequence.Stream, m.Headers(), m.Data())); err != nil {
			return err
		}
		_ = m.Ack() // or it comes again
	}
}

// open makes sure of the bucket.
func (f *follower) open(ctx context.Context) error {
	made, err := f.ensure(ctx)
	if err != nil {
		return err
	}
	if !f.made.IsZero() && !made.Equal(f.made) {
		f.store.log.WarnContext(ctx, "the broker had lost the registry: made anew", slog.String("bucket", f.store.bucket))
		if err := f.restoreLost(ctx); err != nil {
			return err
		}
	}
	f.made = made
	return nil
}

func (f *follower) ensure(ctx context.Context) (made time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	return f.store.ensure(ctx)
}

// restoreLost tells the owner of each entry that it was lost with the bucket, so that it can write
// it again. Revisions start over.
func (f *follower) restoreLost(ctx context.Context) error {
	entries := slices.Collect(maps.Values(f.live))
	errs := make(chan error, len(entries))
	each(entries, func(e entry) {
		if f.lost != nil {
			errs <- f.lost(ctx, e)
		}
	})
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	for key, e := range f.live {
		e.Rev = 0
		f.live[key] = e
	}
	return nil
}

// snapshot tells how all keys differ from what is known, and returns where to go on.
func (f *follower) snapshot(ctx context.Context) (from uint64, err error) {
	entries, upTo, err := f.read(ctx)
	if err != nil {
		return 0, err
	}
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		there[e.Key] = true
		if err := f.tell(e); err != nil {
			return 0, err
		}
	}
	for key := range f.live {
		if there[key] {
			continue
		}
		if err := f.tell(entry{Key: key, Rev: max(upTo, f.live[key].Rev+1), Aged: true}); err != nil {
			return 0, err
		}
	}
	return upTo + 1, nil
}

func (f *follower) read(ctx context.Context) (entries []entry, upTo uint64, err error) {
	short, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	entries, upTo, err = f.store.readAtOnce(short, f.filters)
	if errors.Is(err, errTooMany) {
		return f.store.readOneByOne(ctx, f.filters)
	}
	return entries, upTo, err
}

// tell passes on what is newer than what is known.
func (f *follower) tell(e entry) error {
	known, seen := f.live[e.Key]
	switch {
	case seen && e.Rev <= known.Rev:
		return nil
	case e.Value == nil && !seen:
		return nil // gone before we came
	case e.Value == nil:
		delete(f.live, e.Key)
	default:
		f.live[e.Key] = e
	}
	if err := f.changed(e); err != nil {
		return &ownError{err}
	}
	return nil
}

// consume makes a consumer of what comes after the snapshot. Its messages are acknowledged, so that
// one which is lost comes again.
func (f *follower) consume(ctx context.Context, from uint64) (jetstream.MessagesContext, error) {
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	subjects := make([]string, len(f.filters))
	for i, key := range f.filters {
		subjects[i] = f.store.subject(key)
	}
	c, err := f.store.js.CreateConsumer(ctx, f.store.stream, jetstream.ConsumerConfig{
		FilterSubjects: subjects,
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: followAckWait, MaxDeliver: -1, MaxAckPending: -1,
		InactiveThreshold: followIdle, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	msgs, err := c.Messages(jetstream.PullExpiry(followExpiry), jetstream.PullHeartbeat(followHeartbeat))
	if err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	return msgs, nil
}
