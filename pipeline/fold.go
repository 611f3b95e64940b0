package pipeline

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/millhand/millhand/internal/window"
)

// FoldConfig describes a fold. Key, At, Size, Zero, Fold and Handle are needed.
type FoldConfig[K comparable, V, A any] struct {
	Name  string            // in logs, events and ids. "": fold
	Key   func(V) K         // what values are folded with each other
	At    func(V) time.Time // when they happened
	Size  time.Duration     // of a window of event time
	Delay time.Duration     // how far the watermark stays behind the newest value. 0: it closes windows at once
	Late  time.Duration     // how far the watermark is beyond a window's end when it takes no more values

	// IdleAfter is after how long without a value the watermark of a partition goes on to the newest value,
	// without Delay. 0: it waits.
	IdleAfter time.Duration

	Zero func(K) A    // the accumulator of a key in a new window
	Fold func(A, V) A // adds a value to it

	// Handle handles a window when the watermark has passed its end, and again, at most once a second, when
	// values that came late have changed it. If it fails it is called again, at intervals up to a minute,
	// for ever; other windows go on.
	Handle func(context.Context, *Window[K, A]) error

	Concurrency int // how many calls of Handle run at once, of different windows. 0: 1

	// MaxKeys is how many accumulators the fold keeps in this process at most: one for each key in each open window,
	// of all partitions. One more ends the pipeline: Run returns [ErrTooManyKeys], and what was folded before is
	// kept with State. If as many windows wait to be handled, nothing more is folded until some are. 0: any
	// number.
	MaxKeys int

	// OnLate, if set, is told of values whose windows are closed. It must not block.
	OnLate func(V)

	// State, if set, is the source's [Store]: accumulators survive the process. They are encoded by their
	// AppendBinary and decoded by UnmarshalBinary, if they have both, else as JSON; keys are JSON. Where a
	// source has a Store [New] refuses a fold without. Of a [Merge] the fold takes the messages of the source
	// whose Store it is; one of another source that adds a value fails with [ErrOtherState].
	State Store
}

// A Store keeps what folds know together with the position of their source, in one write: so each value
// counts once, whatever dies when. Sources have one, such as the ordered source of pipeline/stream. It is the
// Acker of the source's deliveries, too.
type Store interface {
	// Keep is called when a Run begins. The fold calls commit when it has something that is to be kept
	// soon.
	Keep(f Checkpointed) (commit func(partition int))
}

// Checkpointed is a fold as its [Store] sees it. Its methods are called from any goroutine.
type Checkpointed interface {
	// StateName is what its state is kept under.
	StateName() string
	// Begin tells of a partition that this process has from now on, until its life ends; its messages have
	// not come yet. The state is what Checkpoint returned; nil: none.
	Begin(life context.Context, partition int, state []byte) error
	// Checkpoint returns what the fold knows of a partition of which everything up to seq is settled, and
	// whether that has changed since; kept is to be called when it is stored.
	Checkpoint(partition int, seq uint64) (state []byte, changed bool, kept func(), err error)
}

// A Window is what Handle gets of a fold: all values of a key within a span of event time. It is Handle's
// until that returns.
type Window[K comparable, A any] struct {
	Key        K
	Start, End time.Time // End is the first that is beyond
	Value      A
	Revision   int  // from 1: how often this window has been handed to Handle
	Final      bool // it takes no more values

	name string
}

// ID returns what to call this revision of the window where it may be handled again, as
// "<fold>/<key>/<start>/<revision>". A place that keeps one row for each key and start keeps the one with the
// greatest revision.
func (w *Window[K, A]) ID() string {
	return fmt.Sprintf("%s/%v/%s/%d", w.name, w.Key, w.Start.UTC().Format(time.RFC3339Nano), w.Revision)
}

// Fold keeps an accumulator for each key in each window of event time. It is made once, listed in
// [Config.Batchers], and added to by Process. It serves one pipeline at a time.
//
// Values are folded in the order in which their messages were pulled, of each partition of the source by
// itself, whatever order Process ends in. A message is out of hand when it has been folded:
//
//   - with State it is settled then. What the fold knows is kept with the source's position, and a window is
//     handled after it has been kept: if the process dies, its values are neither lost nor counted twice,
//     and the window is handled again with the same ID and the same value. At a drain open windows stay
//     there;
//   - without State, messages that have an Acker stay in hand until their windows take nothing more and
//     have been handled. So all of a window's messages have to have room in InFlight. What is open at a
//     drain is handed back;
//   - without both, open windows are handled when the source ends, or the pipeline drains.
type Fold[K comparable, V, A any] struct {
	config FoldConfig[K, V, A]
	late   atomic.Int64 // values whose windows took no more
}

// NewFold returns a fold. [New] checks its configuration.
func NewFold[K comparable, V, A any](c FoldConfig[K, V, A]) *Fold[K, V, A] {
	if c.Name == "" {
		c.Name = "fold"
	}
	if c.Concurrency == 0 {
		c.Concurrency = 1
	}
	return &Fold[K, V, A]{config: c}
}

func windowsOf[K comparable, V, A any](c *FoldConfig[K, V, A]) window.Config {
	return window.Config{Kind: window.Fixed, Size: c.Size, Delay: c.Delay, Late: c.Late}
}

func (f *Fold[K, V, A]) tooLate() int64 { return f.late.Load() }

func (f *Fold[K, V, A]) stateless() bool { return f.config.State == nil }

func (f *Fold[K, V, A]) check() (name string, inFlight int, err error) {
	c := &f.config
	w := windowsOf(c)
	switch {
	case c.Key == nil || c.At == nil || c.Zero == nil || c.Fold == nil || c.Handle == nil:
		return "", 0, invalid("fold %s: Key, At, Zero, Fold and Handle are needed", c.Name)
	case c.Concurrency < 0 || c.IdleAfter < 0 || c.MaxKeys < 0:
		return "", 0, invalid("fold %s: Concurrency %d, IdleAfter %v and MaxKeys %d must not be negative", c.Name, c.Concurrency, c.IdleAfter, c.MaxKeys)
	case w.Check() != nil:
		return "", 0, invalid("fold %s: %w", c.Name, w.Check())
	}
	return c.Name, 0, nil
}

// Add folds v when the messages before this one have been. Process calls it before it returns; nothing is
// folded if Process fails. A message may add several values.
func (f *Fold[K, V, A]) Add(m Envelope, v V) {
	e := m.sealed()
	if g := e.group.Load(); g == nil || !g.add(e, f, func(s staging) {
		if own, ok := s.(*foldStaging[V]); ok {
			own.values[e] = append(own.values[e], v)
		}
	}) {
		e.run.logLost(f.config.Name, e)
	}
}

// foldStaging holds the values of the messages of one group.
type foldStaging[V any] struct {
	values map[*envelope][]V
	take   func(*envelope, []V)
}

func (s *foldStaging[V]) empty() bool { return len(s.values) == 0 }

func (s *foldStaging[V]) remove(e *envelope) (values int) {
	values = len(s.values[e])
	delete(s.values, e)
	return values
}

func (s *foldStaging[V]) commit(context.Context) {
	for e, vs := range s.values {
		s.take(e, vs)
	}
	clear(s.values)
}
