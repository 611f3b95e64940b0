package stages_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

func TestFailedHandlerLeavesTheRestForTheNextRun(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.producer("p", nil, stages.OutletConfig[any]{})
		fail := true
		got := []any{}
		c := must(stages.NewConsumer(stages.ConsumerConfig[any]{Handle: func(_ context.Context, batch []any) error {
			if fail {
				return errBoom
			}
			got = append(got, batch...)
			return nil
		}}))
		must(c.Subscribe(p, demand(6, 4)))
		r := s.start(c)
		synctest.Wait()
		s.push(p, 1, 2, 3, 4, 5, 6)
		if !errors.Is(r.result(), errBoom) {
			s.Errorf("Run = %v, want the handler's error", r.result())
		}
		fail = false
		s.happened()
		s.start(c)
		log := s.happened()
		s.same("handled by the next Run", []int{3, 4, 5, 6}, got)
		s.same("asked by the next Run, beyond what is owed", []int{6}, only(log, "demand"))
	})
}

func TestStoppedConsumerHandlesWhatWasDelivered(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.producer("p", upTo(100), stages.OutletConfig[any]{})
		c := s.gated("c")
		must(c.Subscribe(p, demand(4, 2)))
		got := only(s.happened(), "batch")
		c.run.stop()
		for synctest.Wait(); !c.run.ended(); {
			got = append(got, only(s.release(c), "batch")...)
		}
		s.same("batches", [][]int{{0, 1}, {2, 3}}, got)
		if c.run.result() != nil {
			s.Errorf("Run = %v, want nil", c.run.result())
		}
		// The next Run goes on where the last one ended.
		c.run = s.start(c)
		s.same("next batch", [][]int{{4, 5}}, only(s.happened(), "batch"))
	})
}

func TestHandlersContextOutlivesRunsByGrace(t *testing.T) {
	for name, test := range map[string]struct {
		grace *time.Duration
		want  time.Duration
	}{
		"as long as needed": {grace: nil, want: time.Hour},
		"a second":          {grace: new(time.Second), want: time.Second},
		"none":              {grace: new(time.Duration(0)), want: 0},
	} {
		bubble(t, func(s *scene) {
			p := s.producer("p", upTo(1), stages.OutletConfig[any]{})
			c := must(stages.NewConsumer(stages.ConsumerConfig[any]{
				Grace: test.grace,
				Handle: func(ctx context.Context, _ []any) error {
					select {
					case <-time.After(time.Hour):
					case <-ctx.Done():
					}
					return nil
				},
			}))
			must(c.Subscribe(p, demand(1, 0)))
			r := s.start(c)
			synctest.Wait()
			stopped := time.Now()
			r.stop()
			<-r.done
			if took := time.Since(stopped); took != test.want {
				s.Errorf("%s: Run returned after %v, want %v", name, took, test.want)
			}
		})
	}
}

func TestConsumerOfTwoProducersAsksEach(t *testing.T) {
	bubble(t, func(s *scene) {
		c := s.consumer("c")
		for _, name := range []string{"p", "q"} {
			must(c.Subscribe(s.producer(name, nil, stages.OutletConfig[any]{}), demand(4, 2)))
		}
		asked := map[any]int{}
		for _, e := range s.happened() {
			if e[0] == "demand" {
				asked[e[1]] += e[2].(int)
			}
		}
		if asked["p"] != 4 || asked["q"] != 4 {
			s.Errorf("asked = %v, want 4 of each", asked)
		}
	})
}

// A producer that comes back finds its consumer again, however long it took.
func TestResubscribeAfterTheProducersRestart(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.idleProducer("p", upTo(100), stages.OutletConfig[any]{})
		r := s.start(p)
		c := s.gated("c")
		must(c.Subscribe(p, stages.SubscribeOptions[any]{MaxDemand: 1, Cancel: stages.Temporary, Resubscribe: true}))
		s.happened()
		r.stop()
		s.release(c)
		time.Sleep(time.Hour)
		if p.Buffered() != 0 || c.run.ended() {
			s.Error("something moved without a producer")
		}
		s.start(p)
		s.same("next batch", [][]int{{1}}, only(s.happened(), "batch"))
	})
}

// The cause of a cancelled context reaches permanent consumers, so that whoever runs them knows it
// again.
func TestShutdownCarriesItsCause(t *testing.T) {
	bubble(t, func(s *scene) {
		p := s.idleProducer("p", nil, stages.OutletConfig[any]{})
		cause := errors.New("the supervisor says so")
		ctx, stop := context.WithCancelCause(s.Context())
		s.all.Go(func() {
			if err := p.Run(ctx); err != nil {
				s.Errorf("Run = %v, want nil", err)
			}
		})
		c := s.consumer("c")
		must(c.Subscribe(p, stages.SubscribeOptions[any]{}))
		synctest.Wait()
		stop(cause)
		synctest.Wait()
		if err := c.run.result(); !errors.Is(err, cause) || !errors.Is(err, supervisor.ErrShutdown) || !stages.Clean(err) {
			s.Errorf("the consumer ended with %v, want ErrShutdown because of %v", err, cause)
		}
	})
}

func TestOneRunAtATime(t *testing.T) {
	bubble(t, func(s *scene) {
		c := s.consumer("c")
		if err := c.Run(s.Context()); !errors.Is(err, supervisor.ErrAlreadyStarted) {
			s.Errorf("second Run = %v, want ErrAlreadyStarted", err)
		}
	})
}

func TestConsumerOptions(t *testing.T) {
	if _, err := stages.NewConsumer(stages.ConsumerConfig[int]{}); !errors.Is(err, stages.ErrInvalidOption) {
		t.Errorf("NewConsumer without Handle = %v, want ErrInvalidOption", err)
	}
	if _, err := stages.NewProcessor(stages.ProcessorConfig[int, int]{}); !errors.Is(err, stages.ErrInvalidOption) {
		t.Errorf("NewProcessor without Handle = %v, want ErrInvalidOption", err)
	}
}
