package stats

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
)

// When a worker writes its records.
const (
	recordEvery = 10 * time.Second
	recordApart = 2 * time.Second // workers are so far apart at most, so that they do not come at once
	sendAgain   = 2 * time.Second // after one that was not stored
	refusedFor  = 10 * time.Minute
	lastWithin  = 2 * time.Second // a stop waits for the last record
)

// A Counting says what a worker counts, and when. Its functions do not block and may be called from
// any goroutine.
type Counting struct {
	Node    string               // the worker's id
	Counted func() tally.Sums    // since its start
	Ahead   func() time.Duration // how far this machine's clock is ahead of the broker's
}

// now is the broker's time, as far as it is known.
func (c Counting) now() time.Time { return time.Now().Add(-c.Ahead()) }

// A Recorder writes what a worker counted, every ten seconds if that is anything, and when it stops.
// What it has not got through stays its own from one Run to the next. Nothing depends on it: while
// the broker does not take its records, it keeps the latest, and says once why.
type Recorder struct {
	Counting
	store    *Store
	log      *slog.Logger
	recorder *tally.Recorder
	outbox   tally.Outbox
	number   uint64    // of records so far
	from     time.Time // since when the counts are that no record has; by the broker's clock
	opened   bool      // the stream was there
	notUntil time.Time // nothing is sent, since it was refused
	told     bool      // that it is

	stored, resent, dropped atomic.Uint64
}

// NewRecorder returns the recorder of a worker.
func NewRecorder(s *Store, c Counting) *Recorder {
	return &Recorder{
		Counting: c, store: s, log: s.log,
		recorder: tally.NewRecorder(c.Node), outbox: tally.Outbox{DoubtFor: doubtFor}, from: c.now(),
	}
}

// Records says how many records were stored, sent again, and given up.
func (r *Recorder) Records() (stored, resent, dropped uint64) {
	return r.stored.Load(), r.resent.Load(), r.dropped.Load()
}

// Run records until ctx ends, and then the last time.
func (r *Recorder) Run(ctx context.Context) error {
	timer := time.NewTimer(0) // the stream is to be there soon
	defer timer.Stop()
	due := r.due()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWithin)
			defer cancel()
			r.note()
			r.send(last)
			return nil
		case <-timer.C:
		}
		if !r.now().Before(due) {
			r.note()
			due = r.due()
		}
		r.send(ctx)
		pause := due.Sub(r.now())
		if r.outbox.Len() > 0 {
			pause = min(pause, sendAgain)
		}
		timer.Reset(max(pause, 0))
	}
}

// due returns when the next record is to be made: at tens of seconds of the broker's clock, so that
// each is of one minute, a little apart from other workers.
func (r *Recorder) due() time.Time {
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.Node)) // never fails
	apart := time.Duration(h.Sum32()) % recordApart
	return r.now().Add(-apart).Truncate(recordEvery).Add(recordEvery + apart)
}

// note makes a record of what was counted since the last one.
func (r *Recorder) note() {
	now := r.now()
	record := r.recorder.Next(r.from.UTC().Truncate(recordEvery), r.Counted())
	r.from = now
	if record == nil {
		return
	}
	r.number++
	r.drop(r.outbox.Put(record, r.number, time.Now()))
}

func (r *Recorder) drop(n int) {
	if n == 0 {
		return
	}
	r.dropped.Add(uint64(n)) //nolint:gosec // it is not negative
	r.log.Debug("statistics of some seconds are lost: the broker did not take them in time", slog.Int("count", n))
}

// send stores what is not stored yet, as far as the broker takes it.
func (r *Recorder) send(ctx context.Context) {
	if now := time.Now(); now.Before(r.notUntil) || !r.open(ctx) {
		return
	}
	for {
		l, dropped := r.outbox.Next(time.Now())
		r.drop(dropped)
		if l == nil {
			return
		}
		if l.Again() {
			r.resent.Add(1)
		}
		sent := time.Now()
		err := r.store.put(ctx, r.Node, l)
		switch {
		case err == nil:
			r.outbox.Stored()
			r.stored.Add(1)
			r.told = false
			continue
		case errors.Is(err, errTooLarge):
			r.outbox.Stored()
			r.drop(1)
			continue
		case errors.Is(err, nats.ErrNoResponders):
			r.opened = false // it is lost
		}
		r.outbox.Failed(l, sent, maybeStored(err))
		r.refused(ctx, err)
		return
	}
}

// maybeStored reports whether a write may have got through that failed with err.
func maybeStored(err error) bool {
	return stream.Code(err) == 0 && !errors.Is(err, nats.ErrNoResponders) &&
		!errors.Is(err, nats.ErrPermissionViolation) && !errors.Is(err, nats.ErrReconnectBufExceeded)
}

// open makes the stream, and reports whether it is there.
func (r *Recorder) open(ctx context.Context) bool {
	if r.opened {
		return true
	}
	err := r.store.Open(ctx)
	if r.opened = err == nil; !r.opened && ctx.Err() == nil {
		r.refused(ctx, err)
	}
	return r.opened
}

// refused notes that something was not stored. If that will not pass by itself, it says so, once, and
// asks the broker less often.
func (r *Recorder) refused(ctx context.Context, err error) {
	if !stream.Final(err) && !stream.IsRefusal(err) {
		r.log.DebugContext(ctx, "statistics are not stored at the moment", slog.Any("err", err))
		return
	}
	r.notUntil = time.Now().Add(refusedFor)
	if r.told {
		return
	}
	r.told = true
	r.log.WarnContext(ctx, "no statistics are kept of this worker, and its jobs run all the same: the broker refuses them",
		slog.Any("err", err), slog.String("next", "allow this worker's user what docs/security.md lists for "+r.store.name+", or turn statistics off with --stats off"))
}
