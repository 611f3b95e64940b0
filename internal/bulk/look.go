package bulk

import (
	"context"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/view"
)

// A Lister lists jobs. A [view.View] does.
type Lister interface {
	List(ctx context.Context, q view.Query) (*view.Page, error)
}

// An Operation says which jobs are meant.
type Operation struct {
	Filter filter.Filter // as [Kind.Meant] has it
	Before time.Time     // when it began, by the broker's clock: what came into its state later is not meant
	Limit  int           // how many are acted on at most; 0: all
	Cursor string        // of the [Report] of an operation with the same filter, to go on with; empty: from the beginning
}

// A Looked is what an operation means.
type Looked struct {
	Matched int        `json:"matched"`
	Of      view.Count `json:"of"`             // that were looked at
	Sample  []view.Job `json:"sample"`         // the first ones
	Types   []string   `json:"types"`          // sorted
	From    time.Time  `json:"from,omitzero"`  // when the first of them came into its state
	Until   time.Time  `json:"until,omitzero"` // and the last
}

const (
	samples     = 5
	lookAtOnce  = 1000 // jobs in a page that is only counted
	actAtOnce   = 500  // and in one that is acted on
	actInFlight = 128
)

// Look counts the jobs that are meant. It reads all of them.
func Look(ctx context.Context, l Lister, op Operation) (*Looked, error) {
	from, err := op.start()
	if err != nil {
		return nil, err
	}
	q := view.Query{Filter: op.Filter, Before: from.before, Cursor: from.cursor, N: lookAtOnce, Search: true}
	looked := &Looked{Sample: []view.Job{}, Types: []string{}}
	for {
		page, err := l.List(ctx, q)
		if err != nil {
			return nil, err
		}
		looked.Of = page.Looked.Of
		for i := range page.Jobs {
			looked.add(&page.Jobs[i])
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			slices.Sort(looked.Types)
			return looked, nil
		}
	}
}

func (l *Looked) add(j *view.Job) {
	l.Matched++
	if len(l.Sample) < samples {
		l.Sample = append(l.Sample, *j)
	}
	if !slices.Contains(l.Types, j.Type) {
		l.Types = append(l.Types, j.Type)
	}
	if l.From.IsZero() || j.Since.Before(l.From) {
		l.From = j.Since
	}
	if j.Since.After(l.Until) {
		l.Until = j.Since
	}
}
