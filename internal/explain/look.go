package explain

import (
	"context"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/view"
)

// A Source gathers the case of a job.
type Source interface {
	Case(ctx context.Context, p job.Place) (*view.Case, error)
}

const (
	looks     = 3               // before it is said that there is no reason
	lookAgain = 2 * time.Second // about as long as workers take to write what they do
)

// Look asks why a job is where it is. Workers write what they hold a little later than they do it, so it
// looks again before it says that a job is kept by nothing.
func Look(ctx context.Context, s Source, p job.Place) (*Answer, error) {
	for i := 1; ; i++ {
		c, err := s.Case(ctx, p)
		if err != nil {
			return nil, err
		}
		a := Explain(c)
		if a.First().Code != Unexplained || i == looks {
			return a, nil
		}
		timer := time.NewTimer(lookAgain)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		case <-timer.C:
		}
	}
}
