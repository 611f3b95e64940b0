package stages_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/stages"
)

// A processor that gathers events until a timer posts what it has.
func TestPostEmitsFromElsewhere(t *testing.T) {
	bubble(t, func(s *scene) {
		var gathered []any
		d := must(stages.NewProcessor(stages.ProcessorConfig[any, any]{
			Handle: func(_ context.Context, batch, out []any) ([]any, error) {
				gathered = append(gathered, batch...)
				return out, nil
			},
		}))
		flush := func(_ context.Context, out []any) ([]any, error) {
			out = append(out, gathered...)
			gathered = nil
			return out, nil
		}
		if err := d.Post(flush); err != nil { // waits for the first Run
			t.Error(err)
		}
		p := s.producer("p", upTo(3), stages.OutletConfig[any]{})
		r := s.start(d)
		must(d.Subscribe(p, demand(10, 5)))
		c := s.consumer("c")
		must(c.Subscribe(d, demand(10, 5)))
		if got := only(s.happened(), "batch"); len(got) > 0 {
			t.Errorf("emitted %v before anything was posted", got)
		}
		timer := time.AfterFunc(time.Minute, func() { _ = d.Post(flush) })
		defer timer.Stop()
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]any{[]any{0, 1, 2}}, only(s.happened(), "batch")); diff != "" {
			t.Errorf("after a minute (-want +got):\n%s", diff)
		}
		wrong := errors.New("wrong")
		_ = d.Post(func(context.Context, []any) ([]any, error) { return nil, wrong })
		if synctest.Wait(); !errors.Is(r.result(), wrong) {
			t.Errorf("Run = %v, want what was posted failed with", r.result())
		}
		if err := d.Post(flush); !errors.Is(err, stages.ErrNotRunning) {
			t.Errorf("Post after Run = %v", err)
		}
	})
}

// gate is a dispatcher that takes everything, and delivers only what it is told to.
type gate struct {
	stages.DemandDispatcher[any]
	held []any
}

func (g *gate) Dispatch(events []any, _ stages.Outbox[any]) int {
	g.held = append(g.held, events...)
	return len(events)
}

func (g *gate) Held() int { return len(g.held) }

func (g *gate) Release() []any {
	held := g.held
	g.held = nil
	return held
}

// let delivers the first n of what is held.
func (g *gate) let(n int) func(stages.Dispatcher[any], stages.Outbox[any]) {
	return func(d stages.Dispatcher[any], out stages.Outbox[any]) {
		if d != stages.Dispatcher[any](g) {
			panic("told another dispatcher")
		}
		n -= g.DemandDispatcher.Dispatch(g.held[:n], out)
		g.held = g.held[n:]
	}
}

func TestTellReachesTheDispatcher(t *testing.T) {
	bubble(t, func(s *scene) {
		g := &gate{}
		p := s.idleProducer("p", upTo(100), stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] { return g }})
		c := s.consumer("c")
		must(c.Subscribe(p, stages.SubscribeOptions[any]{MaxDemand: 2, MinDemand: new(0), Cancel: stages.Temporary, Resubscribe: true}))
		r := s.start(p)
		s.happened()
		if g.Held() == 0 {
			t.Fatal("nothing is held")
		}
		p.Pause()
		if err := p.Tell(g.let(2)); err != nil {
			t.Fatal(err)
		}
		if got := only(s.happened(), "batch"); len(got) > 0 {
			t.Errorf("delivered %v while paused", got)
		}
		p.Resume()
		if diff := cmp.Diff([]any{[]any{0, 1}}, only(s.happened(), "batch")); diff != "" {
			t.Errorf("told to deliver two (-want +got):\n%s", diff)
		}
		r.stop()
		synctest.Wait()
		if err := p.Tell(g.let(1)); !errors.Is(err, stages.ErrNotRunning) {
			t.Errorf("Tell after Run = %v", err)
		}
	})
}
