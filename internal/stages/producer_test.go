package stages_test

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

// bubble plays a scene without a recorded case.
func bubble(t *testing.T, script func(*scene)) {
	t.Helper()
	play(t, conformance{ID: t.Name()}, script)
}

func TestEmitWaitsForTheFirstRun(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.idleProducer("p", nil, stages.OutletConfig[any]{})
		emitted := false
		s.all.Go(func() {
			if err := p.Emit(s.Context(), []any{1}); err != nil {
				s.Error(err)
			}
			emitted = true
		})
		if synctest.Wait(); emitted {
			s.Error("Emit returned before the producer ran")
		}
		s.start(p)
		if synctest.Wait(); !emitted || p.Buffered() != 1 {
			s.Errorf("emitted = %v with %d buffered", emitted, p.Buffered())
		}
	})
}

func TestEmitTakesNothingWhenItsContextEnds(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.producer("p", nil, stages.OutletConfig[any]{Paused: true})
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		if err := p.Emit(ctx, []any{1}); !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("Emit = %v, want DeadlineExceeded", err)
		}
		p.Resume()
		if synctest.Wait(); p.Buffered() != 0 {
			s.Error("the event was taken")
		}
	})
}

func TestEmitIsRefusedByAStoppedProducer(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.idleProducer("p", nil, stages.OutletConfig[any]{Paused: true})
		r := s.start(p)
		var held error
		s.all.Go(func() { held = p.Emit(context.Background(), []any{1}) })
		synctest.Wait()
		r.stop()
		synctest.Wait()
		if !errors.Is(held, stages.ErrNotRunning) {
			s.Errorf("Emit that was waiting = %v, want ErrNotRunning", held)
		}
		if err := p.Emit(s.Context(), []any{1}); !errors.Is(err, stages.ErrNotRunning) {
			s.Errorf("Emit = %v, want ErrNotRunning", err)
		}
	})
}

func TestBufferOutlivesTheProducersRun(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.idleProducer("p", nil, stages.OutletConfig[any]{})
		r := s.start(p)
		synctest.Wait()
		s.push(p, 1, 2, 3)
		r.stop()
		synctest.Wait()
		s.start(p)
		must(s.consumer("c").Subscribe(p, demand(5, 0)))
		s.same("batches", [][]int{{1, 2, 3}}, only(s.happened(), "batch"))
	})
}

func TestCompletionDeliversTheBufferFirst(t *testing.T) {
	bubble(t, func(s *scene) {
		p := must(stages.NewProducer(stages.ProducerConfig[any]{
			Demand: func(_ context.Context, _ int, out []any) ([]any, error) {
				return append(out, 1, 2, 3, 4, 5), stages.ErrDone
			},
		}))
		r := s.start(p)
		c := s.gated("c")
		must(c.Subscribe(p, stages.SubscribeOptions[any]{MaxDemand: 2, MinDemand: new(0)}))
		synctest.Wait()
		s.release(c)
		if r.ended() {
			s.Error("the producer ended with an event in its buffer")
		}
		s.release(c)
		if !r.ended() || r.result() != nil {
			s.Errorf("the producer has ended = %v, with %v", r.ended(), r.result())
		}
		s.release(c)
		if !c.run.ended() || c.run.result() != nil {
			s.Errorf("the consumer has ended = %v, with %v", c.run.ended(), c.run.result())
		}
	})
}

// A pipeline drains when its producer is stopped: permanent stages end in turn, after everything
// that was delivered.
func TestPipelineDrainsBehindItsProducer(t *testing.T) {
	bubble(t, func(s *scene) {
		emitted := 0
		p := s.idleProducer("p", func(n int) []any { emitted += n; return numbers(emitted-n+1, emitted) }, stages.OutletConfig[any]{})
		r := s.start(p)
		d := must(stages.NewProcessor(stages.ProcessorConfig[any, any]{
			Handle: func(_ context.Context, batch, out []any) ([]any, error) { return append(out, batch...), nil },
		}))
		processing := s.start(d)
		must(d.Subscribe(p, stages.SubscribeOptions[any]{MaxDemand: 4}))
		c := s.gated("c")
		must(c.Subscribe(d, stages.SubscribeOptions[any]{MaxDemand: 2}))
		got := only(s.happened(), "batch")
		r.stop()
		synctest.Wait()
		for !c.run.ended() {
			got = append(got, only(s.release(c), "batch")...)
		}
		if want := numbers(1, emitted); len(got) != len(want) {
			s.Errorf("%d batches of 1 were handled, %d events emitted", len(got), emitted)
		}
		for _, run := range []*run{processing, c.run} {
			if !errors.Is(run.result(), supervisor.ErrShutdown) {
				s.Errorf("a permanent stage ended with %v, want ErrShutdown", run.result())
			}
		}
	})
}

func TestPanicTellsConsumersAndLeavesTheRest(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.producer("p", nil, stages.OutletConfig[any]{})
		got := []any{}
		c := must(stages.NewConsumer(stages.ConsumerConfig[any]{Handle: func(_ context.Context, batch []any) error {
			if batch[0] == "bad" {
				panic("bad")
			}
			got = append(got, batch...)
			return nil
		}}))
		r := s.start(c)
		must(c.Subscribe(p, demand(4, 3)))
		synctest.Wait()
		s.push(p, 1, "bad", 2, 3)
		if r.result() != errKilled { //nolint:errorlint // the very error
			s.Errorf("Run panicked = %v", r.result())
		}
		s.start(c)
		synctest.Wait()
		s.same("handled", []int{1, 2, 3}, got)
	})
}

// Demand that comes back is asked for again by a subscription that asks by itself, and told by one
// that does not.
func TestGiveBack(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.producer("p", nil, stages.OutletConfig[any]{})
		c := s.consumer("c")
		must(c.Subscribe(p, demand(10, 5)))
		s.happened()
		p.GiveBack(4)
		s.same("asked again", []int{4}, only(s.happened(), "demand"))
	})
	for name, config := range map[string]stages.OutletConfig[any]{
		"demand": {}, "broadcast": broadcast(),
		"partition": {Dispatcher: func() stages.Dispatcher[any] {
			return must(stages.NewPartitionDispatcher(stages.PartitionConfig[any]{
				Partitions: 2, Hash: func(event any) (any, int, bool) { return event, 0, true },
			}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) { giveBackManual(s, config) })
		})
	}
}

func giveBackManual(s *scene, config stages.OutletConfig[any]) {
	p := s.producer("p", nil, config)
	asked := map[*stages.Subscription[any]]int{}
	var subs []*stages.Subscription[any]
	for i := range 2 {
		c := must(stages.NewConsumer(stages.ConsumerConfig[any]{
			Hooks: stages.Hooks[any]{OnReturn: func(sub *stages.Subscription[any], n int) {
				s.mu.Lock()
				defer s.mu.Unlock()
				asked[sub] -= n
			}},
			Handle: func(context.Context, []any) error { return nil },
		}))
		s.start(c)
		subs = append(subs, must(c.Subscribe(p, stages.SubscribeOptions[any]{Manual: true, Partition: i})))
		synctest.Wait()
	}
	for _, sub := range subs {
		s.mu.Lock()
		asked[sub] = 3
		s.mu.Unlock()
		sub.Ask(3)
	}
	demanded := 0
	for _, n := range only(s.happened(), "demand") {
		demanded += n.(int)
	}
	p.GiveBack(demanded)
	s.same("asked after everything was given back", []entry{}, append([]entry{}, s.happened()...))
	for _, sub := range subs {
		if asked[sub] != 0 {
			s.Errorf("a consumer still counts on %d", asked[sub])
		}
	}
}

// billion is a sequence that nobody could keep.
func billion() iter.Seq[any] {
	return func(yield func(any) bool) {
		for n := range 1_000_000_000 {
			if !yield(n) {
				return
			}
		}
	}
}

func TestMemoryIsFlatWhenTheConsumerSleeps(t *testing.T) {
	bubble(t, func(s *scene) {
		drawn := 0
		p := must(stages.FromSeq(func(yield func(any) bool) {
			for n := range billion() {
				if drawn++; !yield(n) {
					return
				}
			}
		}, stages.ProducerConfig[any]{}))
		producing := s.start(p)
		handled := 0
		c := must(stages.NewConsumer(stages.ConsumerConfig[any]{Handle: func(_ context.Context, batch []any) error {
			time.Sleep(time.Second)
			handled += len(batch)
			return nil
		}}))
		r := s.start(c)
		must(c.Subscribe(p, stages.SubscribeOptions[any]{}))
		time.Sleep(10*time.Second + time.Millisecond)
		before := heap()
		time.Sleep(500 * time.Second)
		grown := heap() - before
		r.stop()
		<-r.done
		producing.stop()
		<-producing.done
		if grown > 1<<20 {
			s.Errorf("the heap grew by %d bytes over %d events", grown, handled)
		}
		if drawn > handled+stages.DefaultMaxDemand || p.Buffered() != 0 {
			s.Errorf("%d drawn, %d handled, %d buffered", drawn, handled, p.Buffered())
		}
	})
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A consumer that rejects everything and leaves must not keep a producer that always has more busy.
func TestSelectorThatRejectsEverything(t *testing.T) {
	bubble(t, func(s *scene) {
		p := must(stages.FromSeq(billion(), stages.ProducerConfig[any]{OutletConfig: broadcast()}))
		var once sync.Once
		var sub *stages.Subscription[any]
		c := s.consumer("c")
		sub = must(c.Subscribe(p, stages.SubscribeOptions[any]{
			Cancel: stages.Temporary,
			Selector: func(any) bool {
				once.Do(func() { sub.Cancel(nil) })
				return false
			},
		}))
		producing := s.start(p)
		synctest.Wait()
		if producing.ended() {
			s.Error("the producer ended")
		}
	})
}

func TestProducerOptions(t *testing.T) {
	for _, c := range []stages.OutletConfig[int]{{Buffer: new(-1)}, {Keep: stages.KeepFirst + 1}} {
		if _, err := stages.NewProducer(stages.ProducerConfig[int]{OutletConfig: c}); !errors.Is(err, stages.ErrInvalidOption) {
			t.Errorf("NewProducer(%+v) = %v, want ErrInvalidOption", c, err)
		}
	}
}
