package stages_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
)

func broadcast() stages.OutletConfig[any] {
	return stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] { return new(stages.BroadcastDispatcher[any]) }}
}

// late brings two subscribers to the point where the second has not asked and 4 and 5 are buffered.
func late(s *scene) (p *stages.Producer[any], a, b *stages.Subscription[any]) {
	p = s.producer("p", nil, broadcast())
	a = s.asker("a", p, stages.SubscribeOptions[any]{})
	a.Ask(10)
	synctest.Wait()
	s.push(p, 1, 2, 3)
	b = s.asker("b", p, stages.SubscribeOptions[any]{})
	s.happened()
	s.push(p, 4, 5)
	s.same("delivered before the newcomer asked", []any{}, deliveries(s.happened()))
	if p.Buffered() != 2 {
		s.Errorf("buffered = %d, want 2", p.Buffered())
	}
	b.Ask(20)
	return p, a, b
}

func lateSubscriber(s *scene) {
	late(s)
	got := [][]any{}
	for _, e := range deliveries(s.happened()) {
		got = append(got, []any{e[1], e[2]})
	}
	slices.SortFunc(got, func(x, y []any) int { return int(x[0].(string)[0]) - int(y[0].(string)[0]) })
	s.want("go_expect_after_ask", got)
}

func overtaken(s *scene) {
	p, a, _ := late(s)
	synctest.Wait()
	s.push(p, 6)
	for _, name := range []string{"a", "b"} {
		got := []any{}
		for _, e := range deliveries(slices.Clone(s.log)) {
			if e[1] == name {
				got = append(got, e[2].([]any)...)
			}
		}
		s.same("order at "+name, []int{4, 5, 6}, got)
	}
	s.happened()
	a.Ask(5)
	// All 10 of the first ask but 6 are still to come from the producer: only a's new demand is
	// asked for.
	s.same("demand", []any{5}, only(s.happened(), "demand"))
}

func noConsumers(s *scene) {
	p := s.producer("p", nil, broadcast())
	s.push(p, 1, 2, 3)
	s.want("buffered", p.Buffered())
	a := s.asker("a", p, stages.SubscribeOptions[any]{})
	s.happened()
	a.Ask(5)
	got := []entry{}
	log := s.happened()
	got = append(got, producerEntries(log)...)
	s.want("events", append(got, deliveries(log)...))
}

func selector(s *scene) {
	p := s.producer("p", nil, broadcast())
	even := s.terms()
	even.Selector = func(event any) bool { return event.(int)%2 == 0 }
	must(s.consumer("even").Subscribe(p, even))
	must(s.consumer("all").Subscribe(p, s.terms()))
	synctest.Wait()
	s.push(p, 1, 2, 3, 4)
	s.push(p, 5, 6, 7, 8)
	got := map[any][]any{}
	for _, e := range deliveries(s.happened()) {
		got[e[1]] = append(got[e[1]], e[2].([]any)...)
	}
	var batches [][]any
	if err := json.Unmarshal(s.Expect["even"], &batches); err != nil {
		s.Fatal(err)
	}
	s.same("even", slices.Concat(batches...), got["even"])
	s.want("all", got["all"])
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

func sameOrder(s *scene) {
	p := s.producer("p", nil, broadcast())
	for _, name := range []string{"a", "b", "c"} {
		s.asker(name, p, stages.SubscribeOptions[any]{}).Ask(30)
	}
	synctest.Wait()
	for n := 0; n < 30; n += 3 {
		s.push(p, numbers(n, n+2)...)
	}
	got := map[any][]any{}
	for _, e := range deliveries(s.happened()) {
		got[e[1]] = append(got[e[1]], e[2].([]any)...)
	}
	for _, name := range []string{"a", "b", "c"} {
		s.same("sequence of "+name, numbers(0, 29), got[name])
	}
}
