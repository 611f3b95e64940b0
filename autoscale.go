package millhand

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/millhand/millhand/internal/autoscale"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// An AutoscaleQuery says for which workers [Client.Autoscale] answers. The zero value is for all types
// and queues.
type AutoscaleQuery struct {
	Types       []string      // that they serve; empty: all
	Queue       string        // that they serve; empty: all
	Concurrency int           // jobs that one of them runs at once; 0: the answer has no number of workers
	Target      time.Duration // within which jobs that wait now are to have run; 0: a minute
	Min, Max    int           // workers; a Max of 0 is none
}

// An Autoscale says how many slots jobs want: as many as run at once if what becomes ready is run as it
// comes, and what waits now within the target. What limits and pauses hold back is not in it, since
// more workers would not run that either.
type Autoscale struct {
	Slots   int             `json:"slots"`             // at least 1 if jobs wait that nobody serves
	Workers *int            `json:"workers,omitempty"` // nil: the query has no concurrency
	Capped  []AutoscaleCap  `json:"capped"`            // sorted by pool
	Types   []AutoscaleType `json:"types"`             // sorted by name
	At      time.Time       `json:"at"`                // by the broker's clock
}

// An AutoscaleCap is a limit or a pause that lets less run than there is to do.
type AutoscaleCap struct {
	Pool    string `json:"pool"`    // of a limit "import", "key=crm" or "queue=default", of a pause "default/email"
	By      string `json:"by"`      // "quota", "rate" or "pause"
	Wanted  int    `json:"wanted"`  // slots
	Allowed int    `json:"allowed"` // slots
}

// An AutoscaleType is what one type wants in the queues that were asked for.
type AutoscaleType struct {
	Type    string  `json:"type"`
	Ready   int64   `json:"ready"`
	Running int64   `json:"running"`
	Due     float64 `json:"due_per_s"` // jobs that become ready in a second, mean of ten minutes
	Run     float64 `json:"run_s"`     // seconds in the handler, mean of ten minutes; 1 if nothing is known
	Slots   float64 `json:"slots"`
}

// Autoscale returns how many slots the jobs of a namespace want, for whatever starts and stops workers.
// It costs the broker the same however many jobs wait, and within two seconds all callers of a client
// share one look.
//
// It returns an [ErrInvalid] for a query that breaks a rule, and another error if something is not
// known that the answer hangs on: better keep the workers there are than stop some for that.
func (c *Client) Autoscale(ctx context.Context, q AutoscaleQuery) (*Autoscale, error) {
	if err := q.check(); err != nil {
		return nil, invalid(err)
	}
	f, err := c.scaling.facts(ctx)
	if err != nil {
		return nil, publicError(err)
	}
	a, err := autoscale.Decide(f, autoscale.Query(q))
	if err != nil {
		return nil, err
	}
	out := &Autoscale{
		Slots: a.Slots, Workers: a.Workers, At: a.At,
		Capped: make([]AutoscaleCap, len(a.Capped)), Types: make([]AutoscaleType, len(a.Types)),
	}
	for i, capped := range a.Capped {
		out.Capped[i] = AutoscaleCap{Pool: capped.Pool, By: string(capped.By), Wanted: capped.Wanted, Allowed: capped.Allowed}
	}
	for i, t := range a.Types {
		out.Types[i] = AutoscaleType(t)
	}
	return out, nil
}

// check returns an error that names the rule which q breaks.
func (q AutoscaleQuery) check() error {
	for _, t := range q.Types {
		if err := job.CheckType(t); err != nil {
			return err
		}
	}
	if q.Queue != "" {
		if err := job.CheckQueue(q.Queue); err != nil {
			return err
		}
	}
	switch {
	case q.Concurrency < 0:
		return &job.InvalidError{What: "concurrency", Rule: "must not be negative"}
	case q.Target < 0:
		return &job.InvalidError{What: "target", Rule: "must not be negative"}
	case q.Min < 0 || q.Max < 0:
		return &job.InvalidError{What: "number of workers", Rule: "must not be negative"}
	case q.Max > 0 && q.Min > q.Max:
		return &job.InvalidError{What: "number of workers", Rule: "must not be at least more than it is at most"}
	}
	return nil
}

// scalingFresh is for how long a look is as good as new.
const scalingFresh = 2 * time.Second

// scaling gathers what an [Autoscale] is made of, for all who ask at the same time.
type scaling struct {
	view   *view.View
	stats  *stats.Store
	flight singleflight.Group

	mu   sync.Mutex
	last *autoscale.Facts
	took time.Time // when last was, by this machine's clock
}

func (s *scaling) facts(ctx context.Context) (*autoscale.Facts, error) {
	s.mu.Lock()
	if s.last != nil && time.Since(s.took) < scalingFresh {
		defer s.mu.Unlock()
		return s.last, nil
	}
	s.mu.Unlock()
	looked := s.flight.DoChan("", func() (any, error) {
		f, err := s.look(context.WithoutCancel(ctx)) // it is shared, and has its own patience
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.last, s.took = f, time.Now()
		}
		return f, err
	})
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case r := <-looked:
		f, _ := r.Val.(*autoscale.Facts)
		return f, r.Err
	}
}

func (s *scaling) look(ctx context.Context) (*autoscale.Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, scalingPatience)
	defer cancel()
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	history, err := s.stats.History(ctx, stats.Query{From: snap.At.Add(-autoscale.Window), Until: snap.At, By: tally.ByPair})
	if err != nil {
		return nil, err
	}
	return autoscale.FactsOf(snap, history), nil
}

// scalingPatience is how long a look may take.
const scalingPatience = 5 * time.Second
