package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/pipeline"
)

// deed is what a function does with one message or value.
type deed struct {
	how   string // ok, err, permanent, panic, exit, ack, back
	takes time.Duration
}

func drawDeed(t *rapid.T, label string, hows ...string) deed {
	takes := time.Duration(0)
	if rapid.IntRange(0, 2).Draw(t, label+" slow") == 0 {
		takes = time.Duration(rapid.IntRange(1, 3000).Draw(t, label+" ms")) * time.Millisecond
	}
	return deed{rapid.SampledFrom(hows).Draw(t, label), takes}
}

var errDeed = errors.New("as was drawn")

// do does it, in a pipeline's function.
func (d deed) do(ctx context.Context) error {
	if d.takes > 0 {
		timer := time.NewTimer(d.takes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	switch d.how {
	case "err":
		return errDeed
	case "back":
		return fmt.Errorf("not now: %w", pipeline.ErrHandedBack)
	case "panic":
		panic(errDeed)
	case "exit":
		runtime.Goexit()
	}
	return nil
}

// plan is what happens to a message.
type plan struct {
	process, first, second deed // second is nothing if the message goes to one batcher
	batches                int
	ordered                string
	now                    bool
}

// ledger is the acker of a run, and knows whether it holds to what was promised.
type ledger struct {
	mu      sync.Mutex
	pulled  map[int]bool
	settled map[int]int
	deeds   []deed // of its calls, in turn
	calls   int
	most    int
	inHand  int
}

func (l *ledger) Settle(ctx context.Context, ends []pipeline.End) error {
	l.mu.Lock()
	for _, e := range ends {
		l.settled[e.Ref.(int)]++
		l.inHand--
	}
	d := l.deeds[l.calls%len(l.deeds)]
	l.calls++
	l.mu.Unlock()
	return d.do(ctx)
}

// plans is a source of numbered messages.
type plans struct {
	*ledger
	all  []plan
	next int
	gaps []time.Duration // before the pulls, in turn
}

func (p *plans) Pull(ctx context.Context, n int, out []pipeline.Delivery[int]) ([]pipeline.Delivery[int], error) {
	gap := p.gaps[p.next%len(p.gaps)]
	timer := time.NewTimer(gap)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return out, ctx.Err()
	}
	if p.next == len(p.all) {
		return out, io.EOF
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; n > 0 && p.next < len(p.all); n-- {
		p.pulled[p.next] = true
		p.inHand++
		p.most = max(p.most, p.inHand)
		out = append(out, pipeline.Delivery[int]{Value: p.next, Acker: p.ledger, Ref: p.next})
		p.next++
	}
	return out, nil
}

// Whatever functions and ackers do, and whenever the pipeline drains: each message that was pulled is
// settled once, no other is, and no more are in hand than may be.
func TestEveryMessageIsSettledOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScenario(t)
		rapid.SyncTest(t, func(t *rapid.T) { s.play(t) })
	})
}

type scenario struct {
	source   *plans
	config   pipeline.Config[int]
	size     int
	drain    time.Duration
	prepares []deed
	fails    deed
}

func drawScenario(t *rapid.T) *scenario {
	s := &scenario{source: &plans{ledger: &ledger{pulled: map[int]bool{}, settled: map[int]int{}}}}
	for range rapid.IntRange(1, 30).Draw(t, "messages") {
		s.source.all = append(s.source.all, plan{
			process: drawDeed(t, "process", "ok", "ok", "ok", "ok", "err", "panic", "exit", "ack", "back"),
			first:   drawDeed(t, "first", "ok", "ok", "ok", "err"),
			second:  drawDeed(t, "second", "ok", "ok", "ok", "ok", "ok", "ok", "err", "panic", "exit"),
			batches: rapid.IntRange(0, 2).Draw(t, "batches"),
			ordered: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "key"),
			now:     rapid.IntRange(0, 9).Draw(t, "now") == 0,
		})
	}
	for range 3 {
		s.source.gaps = append(s.source.gaps, time.Duration(rapid.SampledFrom([]int{0, 0, 1, 500}).Draw(t, "gap"))*time.Millisecond)
		s.source.deeds = append(s.source.deeds, drawDeed(t, "acker", "ok", "ok", "ok", "err", "panic", "exit"))
		s.prepares = append(s.prepares, drawDeed(t, "prepare", "ok", "ok", "ok", "ok", "ok", "err", "panic", "exit"))
	}
	s.fails = drawDeed(t, "failed", "ok", "panic", "exit")
	s.size = rapid.IntRange(1, 6).Draw(t, "size")
	s.drain = time.Duration(rapid.IntRange(0, 10_000).Draw(t, "drain after ms")) * time.Millisecond
	s.config = pipeline.Config[int]{
		Source: s.source, Concurrency: rapid.IntRange(1, 4).Draw(t, "concurrency"), InFlight: rapid.IntRange(1, 20).Draw(t, "in flight"),
		DrainTimeout: time.Duration(rapid.IntRange(1, 5000).Draw(t, "drain timeout ms")) * time.Millisecond,
		Logger:       slog.New(slog.DiscardHandler),
		OnFailure: pipeline.Failure{
			Attempts: rapid.IntRange(1, 3).Draw(t, "attempts"), HoldKey: rapid.Bool().Draw(t, "hold"),
			Bisect: rapid.Bool().Draw(t, "bisect"), Stop: rapid.IntRange(0, 5).Draw(t, "stop") == 0,
		},
	}
	if rapid.Bool().Draw(t, "ordered") {
		s.config.OrderBy = func(m *pipeline.Message[int]) string { return s.source.all[m.Value].ordered }
	}
	return s
}

func (s *scenario) play(t *rapid.T) {
	first := pipeline.NewBatcher(pipeline.BatcherConfig[int]{
		Name: "first", Size: s.size, Wait: time.Second, Concurrency: 2,
		Handle: func(ctx context.Context, b *pipeline.Batch[int]) error {
			if len(b.Items) > s.size {
				t.Errorf("a batch of %d, at most %d", len(b.Items), s.size)
			}
			for i, v := range b.Items {
				if err := s.source.all[v].first.do(ctx); err != nil {
					b.Fail(i, err)
				}
			}
			return nil
		},
	})
	second := pipeline.NewBatcher(pipeline.BatcherConfig[int]{
		Name: "second", Size: s.size, Wait: time.Second,
		Key: func(v int) string { return s.source.all[v].ordered },
		Handle: func(ctx context.Context, b *pipeline.Batch[int]) error {
			for _, v := range b.Items {
				if err := s.source.all[v].second.do(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	})
	c := s.config
	c.Batchers = []pipeline.AnyBatcher{first, second}
	c.Process = func(ctx context.Context, m *pipeline.Message[int]) error {
		p := s.source.all[m.Value]
		if p.batches > 0 {
			if p.now {
				first.AddNow(m, m.Value)
			} else {
				first.Add(m, m.Value)
			}
		}
		if p.batches > 1 {
			second.Add(m, m.Value)
		}
		if p.process.how == "ack" {
			m.AckNow()
		}
		return p.process.do(ctx)
	}
	prepared := 0
	var mu sync.Mutex
	c.Prepare = func(ctx context.Context, _ []*pipeline.Message[int]) error {
		mu.Lock()
		d := s.prepares[prepared%len(s.prepares)]
		prepared++
		mu.Unlock()
		return d.do(ctx)
	}
	c.Failed = func(ctx context.Context, failed []*pipeline.Message[int]) {
		for _, m := range failed {
			if m.Err() == nil {
				t.Errorf("message %s has failed with nothing", m.ID())
			}
		}
		_ = s.fails.do(ctx)
	}
	p := must(pipeline.New(c))
	ctx, stop := context.WithTimeout(context.Background(), s.drain)
	defer stop()
	err := p.Run(ctx)
	if err != nil && !errors.Is(err, pipeline.ErrDrainTimeout) && !c.OnFailure.Stop {
		t.Errorf("Run = %v", err)
	}
	l := s.source.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for m := range l.pulled {
		if l.settled[m] != 1 {
			t.Errorf("message %d was settled %d times", m, l.settled[m])
		}
	}
	if len(l.settled) != len(l.pulled) {
		t.Errorf("%d messages were settled, and %d pulled", len(l.settled), len(l.pulled))
	}
	if l.most > c.InFlight {
		t.Errorf("%d in hand, at most %d", l.most, c.InFlight)
	}
	if ctx.Err() == nil && err == nil && len(l.pulled) < len(s.source.all) {
		t.Errorf("Run ended with %d messages of %d pulled", len(l.pulled), len(s.source.all))
	}
	if s := p.Stats(); s.InHand != 0 || int(s.Handled+s.Failed+s.HandedBack) != len(l.pulled) {
		t.Errorf("stats %+v, of %d", s, len(l.pulled))
	}
}
