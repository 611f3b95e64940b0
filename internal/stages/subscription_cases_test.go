package stages_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

func fromSeq(s *scene) {
	var source []int
	if err := json.Unmarshal(s.Setup["source"], &source); err != nil {
		s.Fatal(err)
	}
	p := must(stages.FromSeq(slices.Values(source), stages.ProducerConfig[int]{}))
	producing := s.start(p)
	var streamed []int
	for event, err := range stages.Stream(s.Context(), p, stages.SubscribeOptions[int]{MaxDemand: 2}) {
		if err != nil {
			s.Error(err)
		}
		streamed = append(streamed, event)
	}
	s.want("streamed", streamed)
	synctest.Wait()
	if !producing.ended() || producing.result() != nil {
		s.Error("the source has not ended normally")
	}

	c := s.consumer("c")
	five := must(stages.FromSeq(slices.Values(numbers(1, 5)), stages.ProducerConfig[any]{}))
	must(c.Subscribe(five, stages.SubscribeOptions[any]{Cancel: stages.Transient}))
	s.start(five)
	log := s.happened()
	s.same("transient consumer", []entry{{"batch", "c", numbers(1, 5)}, {"done", "c"}, {"ccancel", "c", "<nil>"}}, log)
	if c.run.ended() {
		s.Error("the transient consumer ended with its source")
	}
}

func streamHalt(s *scene) {
	for _, endOnCancel := range []bool{false, true} {
		p := must(stages.FromSeq(slices.Values(numbers(1, 100_000)), stages.ProducerConfig[any]{EndOnCancel: endOnCancel}))
		r := s.start(p)
		taken := []any{}
		for event, err := range stages.Stream(s.Context(), p, stages.SubscribeOptions[any]{MaxDemand: 10}) {
			if err != nil {
				s.Error(err)
			}
			if taken = append(taken, event); len(taken) == 3 {
				break
			}
		}
		s.want("taken", taken)
		synctest.Wait()
		if r.ended() != endOnCancel {
			s.Errorf("EndOnCancel %v: ended = %v", endOnCancel, r.ended())
		}
	}
}

func asyncSubscribe(s *scene) {
	p := s.producer("p", upTo(2), stages.OutletConfig[any]{})
	c := s.consumer("c")
	if _, err := c.Subscribe(p, s.terms()); err != nil {
		s.Error(err)
	}
	s.want("batches", only(s.happened(), "batch"))
}

func subscribeErrors(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.consumer("c")
	for _, o := range []stages.SubscribeOptions[any]{
		{MaxDemand: -1}, {MaxDemand: 10, MinDemand: new(10)}, {MinDemand: new(2000)}, {MinDemand: new(-1)}, {Cancel: stages.Temporary + 1},
	} {
		if _, err := c.Subscribe(p, o); !errors.Is(err, stages.ErrInvalidOption) {
			s.Errorf("Subscribe(%+v) = %v, want ErrInvalidOption", o, err)
		}
	}
	s.same("what the stages saw", []entry{}, s.happened())
}

func subscribeMissing(s *scene) {
	var want []string
	if err := json.Unmarshal(s.Expect["consumer"], &want); err != nil {
		s.Fatal(err)
	}
	p := s.idleProducer("p", nil, stages.OutletConfig[any]{})
	s.start(p).stop()
	synctest.Wait()
	for i, mode := range []stages.Mode{stages.Permanent, stages.Transient, stages.Temporary} {
		c := s.consumer("c")
		must(c.Subscribe(p, stages.SubscribeOptions[any]{Cancel: mode}))
		synctest.Wait()
		got := "alive"
		if c.run.ended() && errors.Is(c.run.result(), stages.ErrNotRunning) {
			got = "exit noproc"
		}
		if got != want[i] {
			s.Errorf("mode %d: %s, want %s", mode, got, want[i])
		}
	}
}

var (
	errBoom      = errors.New("boom")
	errShutdownX = fmt.Errorf("%w: x", supervisor.ErrShutdown)
)

// ending is a producer that ends for a reason when it is asked for something.
func ending(s *scene, reason string) *stages.Producer[any] {
	results := map[string]error{
		"normal": stages.ErrDone, "shutdown": supervisor.ErrShutdown, "shutdown_x": errShutdownX, "boom": errBoom,
	}
	p := must(stages.NewProducer(stages.ProducerConfig[any]{Demand: func(context.Context, int, []any) ([]any, error) {
		if reason == "kill" {
			panic("kill")
		}
		return nil, results[reason]
	}}))
	s.start(p)
	return p
}

// fate says what became of a consumer.
func fate(r *run) string {
	switch {
	case !r.ended():
		return "alive"
	case r.result() == nil:
		return "normal"
	case errors.Is(r.result(), errShutdownX):
		return "shutdown_x"
	case errors.Is(r.result(), supervisor.ErrShutdown):
		return "shutdown"
	case errors.Is(r.result(), stages.ErrCrashed):
		return "killed"
	}
	return r.result().Error()
}

func cancelModes(s *scene) {
	mode := map[string]stages.Mode{"permanent": stages.Permanent, "transient": stages.Transient, "temporary": stages.Temporary}[s.text("cancel")]
	type row struct {
		Reason, Consumer string
		CancelReason     string `json:"cancel_reason"`
	}
	rows := func(key string) (rows []row) {
		if err := json.Unmarshal(s.Expect[key], &rows); err != nil {
			s.Fatal(err)
		}
		return rows
	}
	for _, row := range rows("producer_ends") {
		c := s.consumer("c")
		must(c.Subscribe(ending(s, row.Reason), stages.SubscribeOptions[any]{Cancel: mode}))
		if log := s.happened(); len(only(log, "ccancel")) != 1 {
			s.Errorf("producer ended %s: consumer was told %v", row.Reason, log)
		}
		if got := fate(c.run); got != row.Consumer {
			s.Errorf("producer ended %s: consumer is %s, want %s", row.Reason, got, row.Consumer)
		}
	}
	reasons := map[string]error{"normal": nil, "shutdown": supervisor.ErrShutdown, "boom": errBoom}
	for _, row := range rows("explicit_cancel") {
		c := s.consumer("c")
		sub := must(c.Subscribe(s.producer("p", nil, stages.OutletConfig[any]{}), stages.SubscribeOptions[any]{Cancel: mode}))
		synctest.Wait()
		sub.Cancel(reasons[row.CancelReason])
		if log := s.happened(); len(only(log, "ccancel")) != 1 {
			s.Errorf("cancelled with %s: consumer was told %v", row.CancelReason, log)
		}
		if got := fate(c.run); got != row.Consumer {
			s.Errorf("cancelled with %s: consumer is %s, want %s", row.CancelReason, got, row.Consumer)
		}
	}
}

func resubscribe(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{
		OnLeave: func(reason error) { s.note("pcancel", "p", []any{"cancel", reason.Error()}) },
	})
	c := s.consumer("c")
	first := must(c.Subscribe(p, demand(5, 2)))
	s.happened()
	second := must(first.Resubscribe(errors.New("again"), demand(7, 3)))
	log := s.happened()
	for _, e := range log {
		if e[0] == "ccancel" {
			e[2] = []any{"cancel", e[2]}
		}
	}
	var want [2]any
	if err := json.Unmarshal(s.Expect["all"], &want); err != nil {
		s.Fatal(err)
	}
	s.same("new subscription", want[0], first != second)
	s.same("events", want[1], log)
}

func consumerDeath(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{
		OnLeave: func(error) { s.note("pcancel", "p", []any{"down", "killed"}) },
	})
	c1 := s.consumer("c1")
	must(c1.Subscribe(p, demand(s.number("c1_max"), 0)))
	log := s.happened()
	c1.run.stop()
	log = append(log, s.happened()...)
	s.want("first", slices.DeleteFunc(log, func(e entry) bool { return e[1] == "c1" }))
	c2 := s.consumer("c2")
	must(c2.Subscribe(p, demand(s.number("c2_max"), 0)))
	s.want("second", s.happened())
}

// unknownSubscription: handles exclude references nobody knows, and one reference for two
// subscriptions. What remains is an Ask on a subscription that has ended: the demand comes back.
func unknownSubscription(s *scene) {
	returned := 0
	c := must(stages.NewConsumer(stages.ConsumerConfig[any]{
		Hooks:  stages.Hooks[any]{OnReturn: func(_ *stages.Subscription[any], n int) { returned += n }},
		Handle: func(context.Context, []any) error { return nil },
	}))
	s.start(c)
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	sub := must(c.Subscribe(p, stages.SubscribeOptions[any]{Manual: true, Cancel: stages.Temporary}))
	synctest.Wait()
	sub.Ask(2)
	synctest.Wait()
	sub.Cancel(nil)
	synctest.Wait()
	if returned != 2 {
		s.Errorf("cancelling returned %d, want the 2 that were asked for", returned)
	}
	sub.Ask(3)
	synctest.Wait()
	if returned != 5 {
		s.Errorf("returned = %d after an ask on an ended subscription, want 5", returned)
	}
}
