package millhand_test

import (
	"context"
	"slices"
	"testing"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
)

// Values become jobs, each once though its batch is handled twice. One that cannot be a job fails alone.
func TestJobsOfAPipeline(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		var failed []int
		mails := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Name: "mails", Handle: millhand.Jobs(c, func(i int) millhand.Args {
			if i == 3 {
				return nil
			}
			return email{}
		})})
		p, err := pipeline.New(pipeline.Config[int]{
			Batchers: []pipeline.AnyBatcher{mails}, Concurrency: 1, Logger: natstest.Logger(natstest.Output(t)),
			Source:  pipeline.FromSeq(slices.Values([]int{1, 2, 3, 4})),
			Process: func(_ context.Context, m *pipeline.Message[int]) error { mails.Add(m, m.Value); return nil },
			Failed: func(_ context.Context, ms []*pipeline.Message[int]) {
				for _, m := range ms {
					failed = append(failed, m.Value)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := p.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		for _, err := range c.Jobs(t.Context(), millhand.JobFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 3 || !slices.Equal(failed, []int{3, 3}) {
			t.Errorf("%d jobs, failed %v", n, failed)
		}
	})
}
