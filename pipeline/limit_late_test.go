package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/pipeline"
)

// counted is a limiter of somebody else: as many starts in each second, by what it was asked.
type counted struct{ rate *pipeline.Rate }

func (c counted) Take(ctx context.Context, n int) (int, error) { return c.rate.Take(ctx, n) }

// However long the source is silent: in no period more messages start than the limit allows, and with the
// module's own rate one that comes after a pause starts at once.
func TestLateMessagesKeepTheRate(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(1, 5).Draw(rt, "limit")
		own := rapid.Bool().Draw(rt, "own")
		pauses := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, 0, 0, 200 * time.Millisecond, 900 * time.Millisecond, time.Hour}), 1, 30).Draw(rt, "pauses")
		var starts []time.Time
		synctest.Test(t, func(t *testing.T) {
			var limiter pipeline.Limiter = pipeline.Every(limit, time.Second)
			if !own {
				limiter = counted{pipeline.Every(limit, time.Second)}
			}
			values := make(chan int, len(pauses))
			p, err := pipeline.New(pipeline.Config[int]{
				Source: pipeline.FromChan(values), InFlight: 50, Limit: limiter, Concurrency: 1,
				Process: func(context.Context, *pipeline.Message[int]) error {
					starts = append(starts, time.Now())
					return nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for i, d := range pauses {
					time.Sleep(d)
					values <- i
				}
				close(values)
			}()
			if err := p.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(starts) != len(pauses) {
				t.Fatalf("%d of %d messages started", len(starts), len(pauses))
			}
		})
		for i := limit; i < len(starts); i++ {
			if d := starts[i].Sub(starts[i-limit]); d < time.Second {
				rt.Fatalf("%d starts within %v: %v", limit+1, d, starts)
			}
		}
	})
}
