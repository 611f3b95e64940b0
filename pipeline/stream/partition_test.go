package stream

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// Pull waits while a cursor has no room for more ranges, and goes on when it has.
func TestPullWaitsForRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &Ordered[int]{
			decode:  func(Message) (int, error) { return 0, nil },
			ordered: ordered{came: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler)},
		}
		p := newPartition(&group{ordered: &o.ordered}, 0, newLease(2*time.Hour, time.Now(), ErrPartitionLost), 1)
		o.owned = []*partition{p}
		for seq := range uint64(3 * maxRanges) {
			p.ready = append(p.ready, &placed{of: p, Message: Message{Seq: seq + 1}})
		}
		var inHand []pipeline.End
		for !p.progress.full() {
			ds, err := o.Pull(t.Context(), 256, nil)
			if err != nil {
				t.Fatal(err)
			}
			var even []pipeline.End
			for _, d := range ds {
				if m, ok := d.Ref.(*placed); ok && m.Seq%2 == 0 {
					even = append(even, pipeline.End{Ref: m})
				} else {
					inHand = append(inHand, pipeline.End{Ref: d.Ref})
				}
			}
			if err := o.Settle(t.Context(), even); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		got := make(chan int, 1)
		go func() {
			ds, _ := o.Pull(ctx, 100, nil)
			got <- len(ds)
		}()
		synctest.Wait()
		if err := o.Settle(ctx, inHand); err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != 100 {
			t.Errorf("Pull got %d of 100 that are ready", n)
		}
	})
}

// A cursor with more ranges than there may be is taken over.
func TestProgressBeginsWithManyRanges(t *testing.T) {
	var p progress
	for seq := range uint64(10000) {
		p.deliver(seq + 1)
	}
	for i := range uint64(5000) {
		p.settle(2*i + 2)
	}
	done := p.done()
	next := progress{seq: p.seq, past: done}
	if len(done) <= maxRanges || next.full() {
		t.Errorf("with %d ranges it is full before anything is handed out", len(done))
	}
	if !next.deliver(1) || !next.full() {
		t.Error("with one in hand it is not full")
	}
	next.settle(1)
	if next.full() || next.seq != 1 {
		t.Errorf("it is at %d, and full: %t", next.seq, next.full())
	}
}

// fixed is a fold that always knows the same.
type fixed []byte

func (fixed) StateName() string                        { return "minutes" }
func (fixed) Begin(context.Context, int, []byte) error { return nil }
func (f fixed) Checkpoint(int, uint64) (state []byte, changed bool, kept func(), err error) {
	return f, true, func() {}, nil
}

// The error of a state that is too large says whose it is, and what to do.
func TestStateThatIsTooLarge(t *testing.T) {
	s := states{encoded: map[string][]byte{}, fresh: map[string]bool{}}
	_, err := s.take([]pipeline.Checkpointed{make(fixed, maxState+1<<20)}, 3, 1)
	for _, want := range []string{"fold minutes", "65 MiB", "64 MiB", "AppendBinary", "windows", "stream.Regroup"} {
		if !errors.Is(err, ErrStateTooLarge) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, without %q", err, want)
		}
	}
	if changed, err := s.take([]pipeline.Checkpointed{make(fixed, maxState)}, 3, 1); err != nil || !changed {
		t.Errorf("of as much as may be: %t, %v", changed, err)
	}
}
