package stages_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
)

func TestDispatcherCases(t *testing.T) {
	enact(t, "dispatcher.json", map[string]func(*scene){
		"dd-highest-first":        highestFirst,
		"dd-accumulated":          accumulatedDemand,
		"dd-cancel-pending":       cancelPending,
		"dd-exactly-once":         exactlyOnce,
		"dd-shuffle":              shuffle,
		"dd-warn-mismatch":        excessiveDemand,
		"dd-gotcha-hidden-buffer": hiddenBuffer,
		"bc-late-subscriber":      lateSubscriber,
		"bc-gotcha-overtaken":     overtaken,
		"bc-no-consumers":         noConsumers,
		"bc-selector":             selector,
		"bc-selector-in-producer": selectorInProducer,
		"bc-duplicate":            duplicateSubscription,
		"bc-order":                sameOrder,
		"bc-vectors":              func(s *scene) { s.Log("see TestBroadcastDispatcherVectors") },
		"pd-queue":                partitionQueue,
		"pd-global-demand":        commonDemand,
		"pd-cancel-queue":         partitionLeft,
		"pd-errors":               partitionErrors,
		"pd-init-errors":          partitionConfigErrors,
		"pd-stall":                partitionStalls,
		"pd-order":                partitionOrder,
		"pd-vectors":              func(s *scene) { s.Log("see TestPartitionDispatcherVectors") },
	})
}

// asker is a consumer that asks by hand and whose batches are logged.
func (s *scene) asker(name string, p stages.Source[any], o stages.SubscribeOptions[any]) *stages.Subscription[any] {
	s.Helper()
	o.Manual, o.Cancel = true, stages.Temporary
	sub := must(s.consumer(name).Subscribe(p, o))
	synctest.Wait()
	return sub
}

// deliveries returns the batches of a log.
func deliveries(log []entry) []entry {
	return slices.DeleteFunc(log, func(e entry) bool { return e[0] != "batch" })
}

func highestFirst(s *scene) {
	var asks map[string]int
	if err := json.Unmarshal(s.Setup["asks"], &asks); err != nil {
		s.Fatal(err)
	}
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	total := 0
	for name, n := range asks {
		s.asker(name, p, stages.SubscribeOptions[any]{}).Ask(n)
		total += n
	}
	synctest.Wait()
	s.push(p, numbers(1, total)...)
	s.want("deliveries", deliveries(s.happened()))
}

func accumulatedDemand(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	subs := map[string]*stages.Subscription[any]{}
	for _, ask := range []struct {
		name string
		n    int
	}{{"a", 4}, {"b", 2}, {"c", 3}, {"c", 2}, {"b", 4}} {
		if subs[ask.name] == nil {
			subs[ask.name] = s.asker(ask.name, p, stages.SubscribeOptions[any]{})
		}
		subs[ask.name].Ask(ask.n)
		synctest.Wait()
	}
	s.push(p, numbers(1, 15)...)
	s.want("deliveries", deliveries(s.happened()))
}

func cancelPending(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{
		OnLeave: func(error) { s.note("pcancel", []any{"down", "killed"}) },
	})
	a := s.consumer("a")
	sub := must(a.Subscribe(p, stages.SubscribeOptions[any]{Manual: true}))
	synctest.Wait()
	sub.Ask(10)
	synctest.Wait()
	a.run.stop()
	first := s.happened()
	s.want("first", producerEntries(first))
	b := s.asker("b", p, stages.SubscribeOptions[any]{})
	s.happened()
	b.Ask(5)
	if log := s.happened(); len(log) != 0 {
		s.Errorf("ask of 5 with 10 pending: %v", log)
	}
	b.Ask(7)
	s.want("then_ask7", producerEntries(s.happened()))
}

// producerEntries are those of the only producer, without its name.
func producerEntries(log []entry) (found []entry) {
	for _, e := range log {
		switch e[0] {
		case "demand":
			found = append(found, entry{e[0], e[2]})
		case "pcancel":
			found = append(found, e)
		}
	}
	return found
}

func exactlyOnce(s *scene) {
	p := s.producer("p", upTo(s.number("events")), stages.OutletConfig[any]{})
	for range s.number("consumers") {
		must(s.consumer("c").Subscribe(p, stages.SubscribeOptions[any]{MaxDemand: s.number("max_demand"), Cancel: stages.Temporary}))
	}
	received, distinct := 0, map[any]bool{}
	for _, batch := range only(s.happened(), "batch") {
		for _, event := range batch.([]any) {
			received++
			distinct[event] = true
		}
	}
	s.want("received", received)
	s.want("distinct", len(distinct))
}

func shuffle(s *scene) {
	type received struct {
		A []string `json:"a"`
		B []string `json:"b"`
	}
	var want []received
	if err := json.Unmarshal(s.Expect["one_of"], &want); err != nil {
		s.Fatal(err)
	}
	seen := map[int]bool{}
	for seed := range uint64(20) {
		s.happened()
		p := s.producer("p", nil, stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] {
			return &stages.DemandDispatcher[any]{Shuffle: rand.New(rand.NewPCG(seed, 0))}
		}})
		s.asker("a", p, stages.SubscribeOptions[any]{}).Ask(3)
		s.asker("b", p, stages.SubscribeOptions[any]{}).Ask(2)
		synctest.Wait()
		s.push(p, "a", "b", "c", "d", "e")
		var got received
		for _, e := range deliveries(s.happened()) {
			for _, event := range e[2].([]any) {
				if e[1] == "a" {
					got.A = append(got.A, event.(string))
				} else {
					got.B = append(got.B, event.(string))
				}
			}
		}
		i := slices.IndexFunc(want, func(w received) bool { return slices.Equal(w.A, got.A) && slices.Equal(w.B, got.B) })
		if i < 0 {
			s.Fatalf("seed %d: %+v is none of %+v", seed, got, want)
		}
		seen[i] = true
	}
	if len(seen) != len(want) {
		s.Errorf("20 seeds gave only outcomes %v", seen)
	}
}

func excessiveDemand(s *scene) {
	warned := 0
	p := s.producer("p", nil, stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] {
		return &stages.DemandDispatcher[any]{
			MaxDemand:   s.number("max_demand"),
			OnExcessive: func(_ stages.ConsumerID, asked int) { warned = asked },
		}
	}})
	s.asker("a", p, stages.SubscribeOptions[any]{}).Ask(4)
	log := s.happened()
	s.want("warning", warned == 4)
	s.want("upstream", only(log, "demand")[0])
}

// hiddenBuffer: the defect of the original that is not copied.
func hiddenBuffer(s *scene) {
	var want struct {
		Go map[string][][]any `json:"go_expect"`
	}
	want.Go = map[string][][]any{}
	if err := json.Unmarshal(s.Expect["go_expect"], &want.Go); err != nil {
		s.Fatal(err)
	}
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	a := s.asker("a", p, stages.SubscribeOptions[any]{})
	a.Ask(10)
	synctest.Wait()
	a.Cancel(nil)
	synctest.Wait()
	s.push(p, 1, 2, 3)
	b := s.asker("b", p, stages.SubscribeOptions[any]{})
	s.happened()
	b.Ask(5)
	log := s.happened()
	s.same("demand covered by the earlier consumer's", []any{}, only(log, "demand"))
	s.same("after b asked 5", want.Go["after_b_asks5"], deliveries(log))
	s.push(p, 4)
	s.same("after 4 was pushed", want.Go["after_push4"], deliveries(s.happened()))
	// Of the 10 asked for 4 came, and b waits for 1 of the other 6: so of 6 more, 5 are covered.
	b.Ask(6)
	s.same("demand", []any{1}, only(s.happened(), "demand"))
}

// parity is a producer with the partitions even (0) and odd (1).
func parity(s *scene, config stages.PartitionConfig[any]) *stages.Producer[any] {
	config.Partitions = 2
	config.Hash = func(event any) (any, int, bool) {
		i := event.(int) % 2
		return event, i, i >= 0
	}
	return s.producer("p", nil, stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] {
		return must(stages.NewPartitionDispatcher(config))
	}})
}

var odd = stages.SubscribeOptions[any]{Partition: 1}

func partitionQueue(s *scene) {
	var want [][2]any
	if err := json.Unmarshal(s.Expect["trace"], &want); err != nil {
		s.Fatal(err)
	}
	p := parity(s, stages.PartitionConfig[any]{})
	evens := s.asker("even", p, stages.SubscribeOptions[any]{})
	evens.Ask(5)
	s.happened()
	s.push(p, 1, 3, 2, 5, 7)
	s.same("push", want[0][1], deliveries(s.happened()))
	s.push(p, 4)
	s.same("push_more", want[1][1], []any{append([]entry{}, deliveries(s.happened())...), p.Buffered()})
	odds := s.asker("odd", p, odd)
	s.happened()
	odds.Ask(2)
	log := s.happened()
	s.same("odd_asks2", want[2][1], append(producerEntries(log), deliveries(log)...))
	odds.Ask(2)
	log = s.happened()
	s.same("odd_asks2_again", want[3][1], append(producerEntries(log), deliveries(log)...))
}

func commonDemand(s *scene) {
	p := parity(s, stages.PartitionConfig[any]{})
	evens := s.asker("even", p, stages.SubscribeOptions[any]{})
	evens.Ask(3)
	s.asker("odd", p, odd).Ask(2)
	s.happened()
	s.push(p, 2, 4, 6, 8, 10)
	s.want("first", map[string]any{"buffered_in_stage": p.Buffered(), "events": deliveries(s.happened())})
	evens.Ask(2)
	log := s.happened()
	s.want("then", append(producerEntries(log), deliveries(log)...))
}

// partitionLeft: queued events wait for the partition's next consumer, also over a restart of the
// producer.
func partitionLeft(s *scene) {
	config := stages.PartitionConfig[any]{Partitions: 2, Hash: func(event any) (any, int, bool) { return event, event.(int) % 2, true }}
	p := s.idleProducer("p", nil, stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] {
		return must(stages.NewPartitionDispatcher(config))
	}})
	r := s.start(p)
	s.asker("even", p, stages.SubscribeOptions[any]{}).Ask(3)
	leaver := s.asker("odd", p, odd)
	synctest.Wait()
	s.push(p, 1, 3, 5)
	leaver.Cancel(nil)
	s.happened()
	s.asker("odd", p, odd).Ask(1)
	s.same("the next consumer gets", []entry{{"batch", "odd", []int{1}}}, deliveries(s.happened()))
	r.stop()
	synctest.Wait()
	s.start(p)
	synctest.Wait()
	s.asker("odd", p, odd).Ask(3)
	s.same("after a restart", []entry{{"batch", "odd", []int{3, 5}}}, deliveries(s.happened()))
}

func partitionErrors(s *scene) {
	var stray []any
	p := parity(s, stages.PartitionConfig[any]{OnStray: func(event any, _ int) { stray = append(stray, event) }})
	s.asker("odd", p, odd).Ask(3)
	for _, test := range []struct {
		partition int
		want      error
	}{{1, stages.ErrPartitionTaken}, {2, stages.ErrNoPartition}, {-1, stages.ErrNoPartition}} {
		c := s.consumer("c")
		must(c.Subscribe(p, stages.SubscribeOptions[any]{Partition: test.partition}))
		synctest.Wait()
		if !errors.Is(c.run.result(), test.want) {
			s.Errorf("partition %d: consumer ended with %v, want %v", test.partition, c.run.result(), test.want)
		}
	}
	s.happened()
	s.push(p, -3, 1) // -3 % 2 is -1, which the hash drops.
	s.same("delivered", []entry{{"batch", "odd", []int{1}}}, deliveries(s.happened()))

	p = s.producer("q", nil, stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] {
		return must(stages.NewPartitionDispatcher(stages.PartitionConfig[any]{
			Partitions: 1, Hash: func(event any) (any, int, bool) { return event, event.(int), true },
			OnStray: func(event any, _ int) { stray = append(stray, event) },
		}))
	}})
	s.asker("c", p, stages.SubscribeOptions[any]{}).Ask(3)
	s.happened()
	s.push(p, 7, 0)
	s.same("delivered", []entry{{"batch", "c", []int{0}}}, deliveries(s.happened()))
	s.same("strays", []int{7}, stray)
}

func partitionConfigErrors(s *scene) {
	for _, config := range []stages.PartitionConfig[int]{
		{Hash: func(event int) (int, int, bool) { return event, 0, true }},
		{Partitions: 2},
	} {
		if _, err := stages.NewPartitionDispatcher(config); !errors.Is(err, stages.ErrInvalidOption) {
			s.Errorf("NewPartitionDispatcher(%+v) = %v, want ErrInvalidOption", config, err)
		}
	}
}

func partitionStalls(s *scene) {
	next := 0
	p := s.producer("p", func(n int) (events []any) {
		for range n {
			events = append(events, next)
			next++
		}
		return events
	}, stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] {
		return must(stages.NewPartitionDispatcher(stages.PartitionConfig[any]{
			Partitions: 2, Hash: func(event any) (any, int, bool) { return event, event.(int) % 2, true },
		}))
	}})
	blocked := s.terms()
	blocked.Partition = 1
	must(s.gated("odd").Subscribe(p, blocked))
	synctest.Wait()
	must(s.consumer("even").Subscribe(p, s.terms()))
	received := 0
	for _, e := range deliveries(s.happened()) {
		if e[1] == "even" {
			received += len(e[2].([]any))
		}
	}
	var most int
	if err := json.Unmarshal(s.Expect["even_received_at_most"], &most); err != nil {
		s.Fatal(err)
	}
	if received == 0 || received > most {
		s.Errorf("even received %d, want 1 to %d", received, most)
	}
}

func partitionOrder(s *scene) {
	n := s.number("partitions")
	p := s.producer("p", upTo(s.number("events")), stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] {
		return must(stages.NewPartitionDispatcher(stages.PartitionConfig[any]{
			Partitions: n, Hash: func(event any) (any, int, bool) { return event, event.(int) % n, true },
		}))
	}})
	for i := range n {
		must(s.consumer(string(rune('a'+i))).Subscribe(p, stages.SubscribeOptions[any]{Partition: i, Cancel: stages.Temporary}))
	}
	got := map[any][]int{}
	for _, e := range deliveries(s.happened()) {
		for _, event := range e[2].([]any) {
			got[e[1]] = append(got[e[1]], event.(int))
		}
	}
	for i := range n {
		events := got[string(rune('a'+i))]
		s.want("per_partition", len(events))
		s.want("ordered", slices.IsSorted(events))
		if slices.ContainsFunc(events, func(event int) bool { return event%n != i }) {
			s.Errorf("partition %d got %v", i, events)
		}
	}
}
