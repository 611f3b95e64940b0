package queue

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// Bounds of the jobs whose handler has returned and whose end is not yet written; with more,
// [Settler.Settle] waits.
const (
	maxUnsettled      = 1024
	maxUnsettledBytes = 32 << 20
)

// settleWithin bounds how long a stopping settler keeps trying to write ends. Whoever stops it
// waits longer than that, so that it can say what is left.
const settleWithin = 8 * time.Second

// overdueEvery is how often it is checked whether answers are overdue.
const overdueEvery = stream.RequestTimeout / 4

// An Outcome is how one run of a job ended, and what becomes of the job.
type Outcome struct {
	Kind    job.EventKind // "" : handed back before it started, which is no event
	Result  []byte
	Error   string
	Stack   string
	Reason  string        // of a dead job
	Delay   time.Duration // to the next run, of a retry or snooze
	Silent  bool          // a success without a result, of a job without a history, leaves no event
	Ended   bool          // it had ended before it came, so that nothing is left but its message: see [Store.EndedBefore]. Kind, unless it is empty, is its end if no event says how
	ByOther bool          // whoever cancelled the job has written this end
}

// CancelledBy is the outcome of a job that is cancelled by an order.
func CancelledBy(o *job.Order) Outcome {
	return Outcome{Kind: job.EventCancelled, Reason: job.ReasonRequested, Error: o.Reason}
}

// requested reports whether the job ends since somebody cancelled it.
func (o *Outcome) requested() bool {
	return o.Kind == job.EventCancelled && o.Reason == job.ReasonRequested
}

// A Settler writes the ends of runs: event, then effect, then ack, each confirmed before the
// next, for many jobs at once. What is handed to it stays its own from one Run to the next until
// it is written or the job's lease is lost.
//
// Jobs that succeeded take the fast path: the events of those that end together are published
// together, those of many at a time are confirmed in batches, and the broker's answers let the
// acks follow, with no goroutine in between. A job whose id is to be kept goes through twice: its
// hold follows its event. All other ends take the slow path, and so does
// whatever the broker does not confirm at once: a goroutine for each goes by the rules step by
// step. The [tracker] knows which is where; the states are drawn at [settleState].
type Settler struct {
	store   *Store
	renewer *Renewer
	log     *slog.Logger
	room    *room
	running chan struct{} // capacity 1; held by Run
	tracker *tracker
	batcher *stream.Batcher[*settlement]
	frame   *frame      // of Run's goroutine
	debug   func() bool // whether anybody reads what is logged at that level

	blindUntil time.Time     // no look is worth it; of whoever looks, as blindFor is
	blindFor   time.Duration // after the next look that fails

	onSettled func(*Delivery, *Outcome)                        // see OnSettled; nil: nobody wants to know
	counter   Counter                                          // see Count
	entry     func(context.Context, string) (cron.Entry, bool) // see JudgeTicks; nil: there are no entries
	ordered   Ordered                                          // nil: nothing is ever cancelled

	turnedAway atomic.Int64 // jobs that found no room at the end
}

// NewSettler returns a settler that writes to s and releases settled jobs from k.
func NewSettler(s *Store, k *Renewer) *Settler {
	t := &Settler{
		store: s, renewer: k, log: s.log,
		room:    newRoom(maxUnsettled, int64(slots.PartOfMemory(maxUnsettledBytes))),
		running: make(chan struct{}, 1),
		tracker: newTracker(),
		frame:   newFrame(),
		debug:   func() bool { return s.log.Enabled(context.Background(), slog.LevelDebug) },
		counter: uncounted{},
	}
	t.batcher = stream.NewBatcher(s.nc, t.stored, t.unsure)
	return t
}

// OnSettled has f called once the end of a run is written, for each of them, from any
// goroutine. It must not block, and is to be set before the settler runs.
func (s *Settler) OnSettled(f func(*Delivery, *Outcome)) { s.onSettled = f }

// A Counter counts what becomes of jobs. Its methods are called from any goroutine, on the way of
// every job, and must not block.
type Counter interface {
	// Fired is called when a job that waited for its time is handed out for the first time.
	Fired(h *Delivery)
	// Redelivered is called of a job whose first holder lost it.
	Redelivered(h *Delivery)
	// Ended is called when an end is written, once for each event. The end of a job that leaves none
	// is its ack. An event that another worker wrote is that worker's to count.
	Ended(h *Delivery, o *Outcome)
	// PutBack is called when the message is written that carries a job on after a delay.
	PutBack(h *Delivery, delay time.Duration)
}

// Count has c count. It is to be set before pullers and the settler run.
func (s *Settler) Count(c Counter) { s.counter = c }

// uncounted counts nothing.
type uncounted struct{}

func (uncounted) Fired(*Delivery)                  {}
func (uncounted) Redelivered(*Delivery)            {}
func (uncounted) Ended(*Delivery, *Outcome)        {}
func (uncounted) PutBack(*Delivery, time.Duration) {}

// An Ordered says which order there is to cancel a job, nil for none.
type Ordered interface {
	Find(r *job.Record, m job.Stored) *job.Order
}

// Heed has jobs cancelled before they start, for which there is an order. It is to be set before
// pullers run.
func (s *Settler) Heed(o Ordered) { s.ordered = o }

// order returns the order to cancel h, nil if there is none.
func (s *Settler) order(h *Delivery) *job.Order {
	if s.ordered == nil {
		return nil
	}
	return s.ordered.Find(&h.Record, h)
}

// Settle hands over a job in hand with its outcome. It waits while too many are unsettled.
func (s *Settler) Settle(h *Delivery, o Outcome) {
	if s.Admit(h, &o) {
		s.Take(h, o)
	}
}

// Admit waits while too many jobs are unsettled, or hold too many bytes. If it reports true,
// [Settler.Take] must follow. It reports false if there is no room after [Settler.Hurry]: h is
// left to whoever gets it when its lease ends.
func (s *Settler) Admit(h *Delivery, o *Outcome) bool {
	h.weight = s.lighten(h, o)
	if s.room.enter(h.weight) {
		return true
	}
	s.renewer.Release(h)
	h.tellTracer(errNoRoom)
	s.turnedAway.Add(1)
	s.log.Error("job not settled, since the ends of too many others are not written: it runs again when its lease ends",
		h.LogAttrs()...)
	return false
}

var errNoRoom = errors.New("the ends of too many other jobs are not written")

// Hurry ends all waiting for room [settleWithin] from now. It is for the end of a drain.
func (s *Settler) Hurry() { time.AfterFunc(settleWithin, s.room.shut) }

// Take takes over a job in hand, which has been admitted, with its outcome.
func (s *Settler) Take(h *Delivery, o Outcome) {
	o.Delay = min(o.Delay, job.MaxDelay)
	t := &h.settlement
	*t = settlement{store: s.store, settler: s, Delivery: h, Outcome: o}
	t.ends = o.Kind.Final() && !h.startedAt.IsZero()
	t.confirmed = t.silent() // there is nothing to confirm
	s.tracker.add(t, t.firstPath())
}

// firstPath is where a settlement that is handed over begins.
func (t *settlement) firstPath() settleState {
	switch {
	case t.Kind != job.EventSucceeded, t.Ended:
		return queuedSlow
	case t.isLookWorth():
		return queuedLook
	}
	return queuedFast
}

// Ending returns jobs that ran and whose end is being written, if they do not run again.
func (s *Settler) Ending() (all []*Delivery) {
	s.tracker.each(func(t *settlement) {
		if t.ends {
			all = append(all, t.Delivery)
		}
	})
	return all
}

// Redelivered hands over a job whose first holder lost it. It is never run here: its
// last event and newest message tell what is left to do.
func (s *Settler) Redelivered(h *Delivery) {
	s.counter.Redelivered(h)
	if s.Admit(h, &Outcome{}) {
		s.tracker.add(&settlement{store: s.store, settler: s, Delivery: h, redelivered: true}, queuedSlow)
	}
}

// Run settles until ctx ends, and then what is still open, for [settleWithin] at most.
// [Settler.Left] tells what did not get through by then. Run waits for an earlier one that was
// given up, since that has what it took and may be stuck with the connection.
func (s *Settler) Run(ctx context.Context) error {
	s.running <- struct{}{}
	defer func() { <-s.running }()
	defer s.batcher.Close()
	work, giveUp := context.WithCancelCause(context.WithoutCancel(ctx)) // a drain ends with everything written
	defer giveUp(nil)
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(settleWithin, func() { giveUp(errStopped) })
	})()
	var slowPath sync.WaitGroup
	defer slowPath.Wait()
	s.forget(s.tracker.restart())
	overdue := time.NewTimer(overdueEvery)
	defer overdue.Stop()
	checking := true
	stop := ctx.Done()
	for {
		publish, batched, start := s.tracker.take()
		s.publishEvents(publish, batched)
		if unlooked := s.tracker.takeUnlooked(); len(unlooked) > 0 {
			slowPath.Go(func() { s.look(work, unlooked) })
		}
		if uncounted := s.tracker.takeUncounted(); len(uncounted) > 0 {
			slowPath.Go(func() { s.countTogether(work, uncounted) })
		}
		for _, t := range start {
			slowPath.Go(func() { s.settleSlowly(work, t) })
		}
		if ctx.Err() != nil && s.tracker.idle() {
			return nil
		}
		select {
		case <-s.tracker.wake:
			// Jobs that end at the same time go together, and their slots are free first.
			runtime.Gosched()
			if !checking {
				checking = true
				overdue.Reset(overdueEvery)
			}
		case now := <-overdue.C:
			// An idle worker is not to wake up for nothing.
			if checking = s.checkOverdue(now); checking {
				overdue.Reset(overdueEvery)
			}
		case <-stop:
			stop = nil
			s.tracker.drain()
		}
	}
}

func (s *Settler) report(t *settlement, err error) {
	t.tellTracer(err)
	if err == nil && t.silent() {
		t.count()
	}
	if err == nil && s.onSettled != nil {
		s.onSettled(t.Delivery, &t.Outcome)
	}
	switch {
	case err == nil && t.redelivered && t.Kind != job.EventDead:
		s.log.Warn("a worker vanished while it had this job", t.attrs()...)
	case err == nil:
		if s.debug() { // once per job: worth a look before the work
			s.log.Debug("job settled", t.attrs()...)
		}
	case errors.Is(err, ErrLeaseLost), errors.Is(err, errTaken):
		s.log.Warn("job lost: it is run or settled elsewhere", append(t.attrs(), slog.Any("err", err))...)
	default:
		s.log.Error("job not settled: it runs again when its lease ends", append(t.attrs(), slog.Any("err", err))...)
	}
}

func (t *settlement) attrs() []any {
	return append(t.LogAttrs(), slog.Any("outcome", t.Kind))
}

// silent reports whether the end of t is written by its ack alone. A job of which something
// is known already must not end without an event: its last event would be taken for its state.
// Nor may one that somebody waits for.
func (t *settlement) silent() bool {
	return t.Silent && !t.Awaited && t.Kind == job.EventSucceeded && len(t.Result) == 0 && t.lastEvent == 0
}

// count counts the end of t, which is written. Those who settle without a settler are no workers.
func (t *settlement) count() {
	if t.settler != nil {
		t.settler.counter.Ended(t.Delivery, &t.Outcome)
	}
}

// errTaken says that the events show another holder or a later life at work.
var errTaken = errors.New("job taken by another worker")
