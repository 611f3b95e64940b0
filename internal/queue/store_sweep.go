package queue

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// Bounds of sweeping. Every worker sweeps: all writes are on conditions, so that several do no
// harm.
const (
	sweepFirst    = 5 * time.Second // after the start
	sweepAgain    = 10 * time.Second
	sweepEvery    = time.Minute
	sweepOverdue  = time.Minute // a schedule is late by so much before it is fired in the broker's stead
	sweepReads    = 64          // waiting jobs that are looked at in a pass, from where the last one ended
	sweepAfter    = 20_000      // the same, after the broker had stored nothing for a while
	sweepTypes    = 16          // consumers that are looked at in a pass
	sweepFinished = 1_000       // messages of one that may be found to be acknowledged, in a pass
)

// A Sweeper mends what a broker leaves behind that could not write.
//
// A job that waits for its time is not made ready any more once the broker has tried to and had
// no room: it takes the attempt for one that is still in flight. And an acknowledgement that
// came while the disk was full removed nothing, so that the message, which nobody is handed any
// more, takes up room and its id. Besides, who publishes a job to wait for its time and
// forgets to say for which, has it run. What no consumer can be handed, because its subject is no
// job's, is buried.
type Sweeper struct {
	store *Store
	queue job.Name
	types []job.Name
	log   *slog.Logger

	later    uint64    // sequence where the next look at the waiting jobs begins; 0: a round does
	laterEnd uint64    // sequence of the last of them when the round began
	gone     time.Time // when the broker last had to go through a long stretch of the stream, by its clock
	next     int       // place in types of the next consumer
	refused  int64     // that of the store, when all waiting jobs were looked at for it
	thorough bool      // which is going on
	acked    map[uint64]bool
	found    map[job.Name]time.Time // when the first message of a type was looked for at a high cost
	place    uint64                 // sequence where the next look for misplaced messages begins
	odd      bool                   // the next pass is to begin there, and not at the head
}

// NewSweeper returns a sweeper of one queue, and of the consumers of the types.
func NewSweeper(s *Store, queue string, types []string) (*Sweeper, error) {
	name, err := job.QueueName(queue)
	if err != nil {
		return nil, err
	}
	w := &Sweeper{store: s, queue: name, log: s.log.With(slog.String("queue", queue)), found: make(map[job.Name]time.Time)}
	for _, t := range types {
		typ, err := job.TypeName(t)
		if err != nil {
			return nil, err
		}
		w.types = append(w.types, typ)
	}
	return w, nil
}

// Run sweeps until ctx ends: soon after the start, and after the broker stores again, and then
// now and then.
func (w *Sweeper) Run(ctx context.Context) error {
	pause := sweepFirst
	timer := time.NewTimer(pause)
	defer timer.Stop()
	mended := w.store.untilMended()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-mended:
			mended = w.store.untilMended()
			pause = sweepFirst
			timer.Reset(pause)
			continue
		case <-timer.C:
		}
		if err := w.sweep(ctx); err != nil && ctx.Err() == nil {
			w.log.DebugContext(ctx, "cannot look for jobs that the broker left behind", slog.Any("err", err))
		}
		if pause == sweepFirst {
			pause = sweepAgain
		} else {
			pause = sweepEvery*9/10 + rand.N(sweepEvery/5)
		}
		timer.Reset(pause)
	}
}

// sweep is one pass.
func (w *Sweeper) sweep(ctx context.Context) error {
	info, err := w.store.queueInfo(ctx, w.queue)
	if err != nil {
		return err
	}
	// The pin comes back even if it is lost while nobody asks whether the worker is ready.
	return errors.Join(
		w.store.drivePin(ctx, w.queue),
		w.fireOverdue(ctx, info),
		w.buryMisplaced(ctx, info.TimeStamp),
		w.removeAcked(ctx, info),
	)
}
