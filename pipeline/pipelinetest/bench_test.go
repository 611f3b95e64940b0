package pipelinetest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/pipelinetest"
)

func config(batches *[][]int) pipeline.Config[int] {
	all := pipeline.NewBatcher(pipeline.BatcherConfig[int]{
		Name: "all", Size: 3, Wait: time.Minute,
		Handle: func(_ context.Context, b *pipeline.Batch[int]) error {
			*batches = append(*batches, slices.Clone(b.Items))
			return nil
		},
	})
	return pipeline.Config[int]{
		Name: "test", Batchers: []pipeline.AnyBatcher{all},
		Process: func(_ context.Context, m *pipeline.Message[int]) error {
			if m.Value == 13 {
				return errors.New("unlucky")
			}
			all.Add(m, m.Value)
			return nil
		},
	}
}

func TestBatches(t *testing.T) {
	var batches [][]int
	pipelinetest.Run(t, config(&batches), func(b *pipelinetest.Bench[int]) {
		b.Send(1, 2, 3, 4, 13)
		if ok, failed := b.Settled(); !slices.Equal(ok, []int{1, 2, 3}) || !slices.Equal(failed, []int{13}) {
			t.Errorf("settled %v, failed %v", ok, failed)
		}
		b.Sleep(time.Minute)
		if ok, _ := b.Settled(); !slices.Equal(ok, []int{4}) {
			t.Errorf("after a minute: settled %v", ok)
		}
		if err := b.Do(5); err != nil {
			t.Error(err)
		}
		b.Send(6)
		if err := b.Drain(); err != nil {
			t.Error(err)
		}
		if got := len(batches); got != 4 {
			t.Errorf("%d batches", got)
		}
	})
}

func TestDoWaitsForSlowWork(t *testing.T) {
	c := pipeline.Config[int]{
		Concurrency: 2,
		Process: func(_ context.Context, m *pipeline.Message[int]) error {
			<-time.NewTimer(time.Hour).C
			if m.Value > 0 {
				return errors.New("positive")
			}
			return nil
		},
	}
	pipelinetest.Run(t, c, func(b *pipelinetest.Bench[int]) {
		begun := time.Now()
		if err := b.Do(1); err == nil || err.Error() != "positive" {
			t.Errorf("Do = %v", err)
		}
		if took := time.Since(begun); took < time.Hour {
			t.Errorf("took %v", took)
		}
		b.Pipeline().Pause()
		b.Send(2)
		b.Sleep(2 * time.Hour)
		if ok, failed := b.Settled(); ok != nil || failed != nil {
			t.Errorf("settled %v, %v while paused", ok, failed)
		}
	})
}
