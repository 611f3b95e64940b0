package stages_test

import (
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
)

func broadcast() stages.OutletConfig[any] {
	return stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] { return new(stages.BroadcastDispatcher[any]) }}
}

// selectorInProducer: it runs in the goroutine of the producer, whose other subscribers go on when
// it panics.
func selectorInProducer(s *scene) {
	producing := ""
	config := broadcast()
	config.OnJoin = func() { producing = goroutine() }
	p := must(stages.NewProducer(stages.ProducerConfig[any]{OutletConfig: config}))
	run := s.start(p)
	runsIn := "elsewhere"
	fragile := s.terms()
	fragile.Selector = func(event any) bool {
		if goroutine() == producing {
			runsIn = "producer"
		}
		if event == 3 {
			panic("selector")
		}
		return true
	}
	must(s.consumer("fragile").Subscribe(p, fragile))
	must(s.consumer("other").Subscribe(p, s.terms()))
	synctest.Wait()
	s.push(p, 1, 2, 3, 4)
	s.push(p, 5)
	log := s.happened()
	s.want("runs_in", runsIn)
	var reason string
	for _, e := range log {
		if e[0] == "ccancel" && e[1] == "fragile" {
			reason = e[2].(string)
		}
	}
	got := map[any][]any{}
	for _, e := range deliveries(log) {
		got[e[1]] = append(got[e[1]], e[2].([]any)...)
	}
	s.same("of the one whose selector panicked", numbers(1, 2), got["fragile"])
	s.same("of the other", numbers(1, 5), got["other"])
	if !strings.Contains(reason, "panic: selector") {
		s.Errorf("the consumer was told %q, want the panic", reason)
	}
	if run.ended() {
		s.Errorf("the producer ended: %v", run.result())
	}
}

// goroutine names the goroutine that calls it.
func goroutine() string {
	name, _, _ := strings.Cut(string(debug.Stack()), "[")
	return name
}

// duplicateSubscription: whatever its terms, the second subscription ends alone, and the log tells.
func duplicateSubscription(s *scene) {
	for _, o := range []stages.SubscribeOptions[any]{
		{Cancel: stages.Permanent},
		{Cancel: stages.Transient},
		{Cancel: stages.Temporary},
		{Cancel: stages.Temporary, Resubscribe: true},
		{Cancel: stages.Permanent, Resubscribe: true},
	} {
		var log strings.Builder
		config := broadcast()
		config.Log = slog.New(slog.NewTextHandler(&log, nil))
		p := s.producer("p", nil, config)
		c := s.consumer("c")
		first := must(c.Subscribe(p, o))
		second := must(c.Subscribe(p, o))
		synctest.Wait()
		s.push(p, 1)
		s.want("batches", only(s.happened(), "batch"))
		if c.run.ended() {
			s.Errorf("%+v: the consumer ended: %v", o, c.run.result())
		}
		if n := strings.Count(log.String(), "already subscribed"); n != 1 {
			s.Errorf("%+v: the log has %d lines of it, want 1:\n%s", o, n, &log)
		}
		if err := first.Wait(s.Context()); err != nil {
			s.Errorf("%+v: Wait of the first = %v", o, err)
		}
		if !o.Resubscribe {
			if err := second.Wait(s.Context()); !errors.Is(err, stages.ErrAlreadySubscribed) {
				s.Errorf("%+v: Wait of the second = %v, want ErrAlreadySubscribed", o, err)
			}
			continue
		}
		first.Cancel(nil) // the second has waited for its turn
		if s.happened(); o.Cancel == stages.Temporary {
			s.push(p, 2)
			s.same("after the first left", [][]int{{2}}, only(s.happened(), "batch"))
		}
	}
}
