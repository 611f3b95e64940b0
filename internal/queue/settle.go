package queue

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// Bounds of the jobs whose handler has returned and whose end is not yet written; with more,
// [Settler.Settle] waits.
const (
	maxUnsettled      = 1024
	maxUnsettledBytes = 32 << 20
)

// settleWithin bounds how long a settler that stops goes on with ends that do not get through.
// Who stops it waits for longer than that, so that it can say what it leaves.
const settleWithin = 8 * time.Second

// overdueEvery is how often it is looked whether answers are overdue.
const overdueEvery = stream.RequestTimeout / 4

// An Outcome is how one run of a job ended, and what becomes of the job.
type Outcome struct {
	Kind   job.EventKind // "" : handed back before it started, which is no event
	Result []byte
	Error  string
	Stack  string
	Reason string        // of a dead job
	Delay  time.Duration // to the next run, of a retry or snooze
	Silent bool          // a success without a result, of a job without a history, leaves no event
}

// A Settler writes the ends of runs: event, then effect, then ack, each confirmed
// before the next, for many jobs at once. What is handed to it stays its own from one
// Run to the next until it is written or the job's lease is lost.
//
// Jobs that succeeded take the express lane: the events of those that end together are
// published together, and the broker's answers let the acks follow, with no goroutine in
// between. All other ends, and whatever the broker does not confirm at once, have a goroutine
// each that goes by the rules step by step.
type Settler struct {
	store   *Store
	renewer *Renewer
	log     *slog.Logger
	room    *room
	wake    chan struct{}
	turn    chan struct{} // held by Run
	frame   *frame        // of Run's goroutine
	batcher *stream.Batcher[*settlement]
	debug   func() bool // whether anybody reads what is logged at that level

	turnedAway atomic.Int64 // jobs that found no room at the end

	mu      sync.Mutex
	crowd   int  // with more on the express lane, events are confirmed together
	ending  bool // nothing more comes, so that the last one on the express lane has to wake Run
	open    map[*settlement]struct{}
	todo    []*settlement // those of open that Run is to take
	express int           // how many of open it took for the express lane and have not left it
}

// NewSettler returns a settler that writes to s and releases settled jobs from k.
func NewSettler(s *Store, k *Renewer) *Settler {
	t := &Settler{
		store: s, renewer: k, log: s.log,
		room:  newRoom(maxUnsettled, int64(partOfMemory(maxUnsettledBytes))),
		wake:  make(chan struct{}, 1),
		turn:  make(chan struct{}, 1),
		debug: func() bool { return s.log.Enabled(context.Background(), slog.LevelDebug) },
		open:  make(map[*settlement]struct{}),
		crowd: crowdedLane,
		frame: newFrame(),
	}
	t.batcher = stream.NewBatcher(s.nc, t.stored, t.unsure)
	return t
}

// Settle hands over a job in hand with its outcome. It waits while too many are unsettled.
func (s *Settler) Settle(h *Delivery, o Outcome) {
	if s.Admit(h, &o) {
		s.Take(h, o)
	}
}

// Admit waits while too many jobs are unsettled, or those have too many bytes. It is to be
// followed by [Settler.Take], if it reports true. It reports false after [Settler.Hurry], if
// there is no room: h is left to whoever gets it when its lease ends.
func (s *Settler) Admit(h *Delivery, o *Outcome) bool {
	h.weight = s.lighten(h, o)
	if s.room.enter(h.weight) {
		return true
	}
	s.renewer.Release(h)
	s.turnedAway.Add(1)
	s.log.Error("job not settled, since the ends of too many others are not written: it runs again when its lease ends",
		slog.String("job_id", h.ID), slog.String("type", h.Type), slog.String("queue", h.Queue), slog.Int("attempt", h.Attempt))
	return false
}

// Hurry has nobody wait for room any more, from [settleWithin] after now on. It is for the end
// of a drain.
func (s *Settler) Hurry() { time.AfterFunc(settleWithin, s.room.shut) }

// Take takes over a job in hand, which has been admitted, with its outcome.
func (s *Settler) Take(h *Delivery, o Outcome) {
	o.Delay = min(o.Delay, job.MaxDelay)
	t := &h.end
	*t = settlement{store: s.store, settler: s, Delivery: h, Outcome: o}
	t.confirmed = t.silent() // there is nothing to confirm
	if o.Kind == job.EventSucceeded {
		t.lane.at = boarding
	}
	s.add(t)
}

// Redelivered hands over a job whose first holder lost it. It is never run here: its
// last event and newest message tell what is left to do.
func (s *Settler) Redelivered(h *Delivery) {
	if s.Admit(h, &Outcome{}) {
		s.add(&settlement{store: s.store, Delivery: h, redelivered: true})
	}
}

func (s *Settler) add(t *settlement) {
	s.mu.Lock()
	s.open[t] = struct{}{}
	s.todo = append(s.todo, t)
	first := len(s.todo) == 1
	s.mu.Unlock()
	if first {
		s.wakeRun()
	}
}

func (s *Settler) wakeRun() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run settles until ctx ends, and then what is still open: at most for [settleWithin]. What
// does not get through by then, [Settler.Left] tells. It waits for an earlier one that was given up, since that may still be
// stuck with the connection, and has what it took.
func (s *Settler) Run(ctx context.Context) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	defer s.batcher.Close()
	work, giveUp := context.WithCancelCause(context.WithoutCancel(ctx)) // a drain ends with everything written
	defer giveUp(nil)
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(settleWithin, func() { giveUp(errStopped) })
	})()
	var wg sync.WaitGroup
	defer wg.Wait()
	s.resume()
	look := time.NewTimer(overdueEvery)
	defer look.Stop()
	looking := true
	stop := ctx.Done()
	for {
		express, others, crowded := s.take()
		s.depart(express, crowded)
		for _, t := range others {
			wg.Go(func() {
				if err := t.run(work); !gaveUp(work, err) {
					s.settled(t, err)
				}
			})
		}
		if ctx.Err() != nil && s.idle() {
			return nil
		}
		select {
		case <-s.wake:
			// Jobs that end at the same time go together, and their slots are free first.
			runtime.Gosched()
			if !looking {
				looking = true
				look.Reset(overdueEvery)
			}
		case now := <-look.C:
			// An idle worker is not to wake up for nothing.
			if looking = s.overdue(now); looking {
				look.Reset(overdueEvery)
			}
		case <-stop:
			stop = nil
			s.end()
		}
	}
}

// errStopped ends what a settler that stops has no more time for. It stays open.
var errStopped = errors.New("the settler stops")

// gaveUp reports whether a settlement ended with err since its settler has no more time.
func gaveUp(work context.Context, err error) bool {
	return work.Err() != nil && (errors.Is(err, errStopped) || errors.Is(err, context.Canceled))
}

// resume takes up whatever an earlier run left open, by the rules.
func (s *Settler) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = false
	s.todo = s.todo[:0]
	for t := range s.open {
		switch t.lane.at {
		case flying:
			s.leave(t)
		case offLane, boarding:
			s.todo = append(s.todo, t)
		case answered: // it goes on by itself
		}
	}
}

// end has Run woken when the express lane is empty.
func (s *Settler) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
}

// take returns what is to be worked on: on the express lane, where it may be crowded, and step by step.
func (s *Settler) take() (express, others []*settlement, crowded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	express, s.todo = s.todo, nil
	express = slices.DeleteFunc(express, func(t *settlement) bool {
		if t.lane.at != boarding {
			others = append(others, t)
			return true
		}
		t.lane.at = flying
		s.express++
		return false
	})
	return express, others, s.express > s.crowd
}

// idle reports whether nothing is to be taken, and nothing is on the express lane.
func (s *Settler) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.todo) == 0 && s.express == 0
}

// settled notes how the settling of t ended.
func (s *Settler) settled(t *settlement, err error) {
	s.store.refused.drop(t)
	s.renewer.Release(t.Delivery)
	s.mu.Lock()
	delete(s.open, t)
	s.mu.Unlock()
	s.room.leave(t.weight)
	if err == nil && t.Delay > 0 {
		s.renewer.gate.remind(t.Queue, t.Type, t.Delay)
	}
	s.report(t, err)
}

func (s *Settler) report(t *settlement, err error) {
	switch {
	case err == nil && t.redelivered:
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
	return []any{
		slog.String("job_id", t.ID), slog.String("type", t.Type), slog.String("queue", t.Queue),
		slog.Int("attempt", t.Attempt), slog.Any("outcome", t.Kind),
	}
}

// silent reports whether the end of t is written by its ack alone. A job of which something
// is known already must not end without an event: its last event would be taken for its state.
func (t *settlement) silent() bool {
	return t.Silent && t.Kind == job.EventSucceeded && len(t.Result) == 0 && t.lastEvent == 0
}

// errTaken says that the events show another holder or a later life at work.
var errTaken = errors.New("job taken by another worker")
