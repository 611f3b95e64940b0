package millhand_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
)

// letting is a source that remembers what it handed out last.
type letting struct {
	*millhand.JobSource[parcel]

	last pipeline.Delivery[parcelJob]
}

func (s *letting) Pull(ctx context.Context, n int, out []pipeline.Delivery[parcelJob]) ([]pipeline.Delivery[parcelJob], error) {
	out, err := s.JobSource.Pull(ctx, n, out)
	if len(out) > 0 {
		s.last = out[len(out)-1]
	}
	return out, err
}

// A job that a part of its pipeline had in hand which crashed is one whose worker crashed: nothing is written of the run,
// and it runs again when its lease has ended.
func TestJobOfACrashedPart(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		ref := d.enqueue("a", parcel{})
		jobs, err := millhand.NewJobSource[parcel](s.Connect(t), millhand.JobSourceConfig{AckWait: 10 * time.Second, Config: millhand.Config{Logger: testLog(t)}})
		if err != nil {
			t.Fatal(err)
		}
		source := &letting{JobSource: jobs}
		var runs []time.Time
		p, err := pipeline.New(parcelConfig{
			Source: source, InFlight: 1, Concurrency: 1, Logger: testLog(t),
			Process: func(ctx context.Context, _ *pipeline.Message[parcelJob]) error {
				if runs = append(runs, time.Now()); len(runs) == 1 {
					l, ok := source.last.Acker.(pipeline.Loser)
					if !ok {
						t.Errorf("%T cannot let go", source.last.Acker)
						return nil
					}
					l.Lose([]any{source.last.Ref})
					<-ctx.Done()
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		waited, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if _, err := d.client.Await(waited, ref); err != nil {
			t.Error(err)
		}
		if len(runs) != 2 || runs[1].Sub(runs[0]) < 9*time.Second || runs[1].Sub(runs[0]) > 15*time.Second {
			t.Errorf("ran at %v", runs)
		}
		var kinds []millhand.EventKind
		for e, err := range d.client.Events(waited, d.made) {
			if err != nil {
				t.Fatal(err)
			}
			if kinds = append(kinds, e.Kind); e.Kind == millhand.EventSucceeded {
				break
			}
		}
		if !slices.Contains(kinds, millhand.EventLost) {
			t.Errorf("events %q", kinds)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
