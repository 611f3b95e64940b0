package stages_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
)

// Cases of the dispatchers: by demand, to all, and by partition.
func TestDispatcherCases(t *testing.T) {
	enact(t, "dispatcher", playStages,
		script{setup: "file", knows: vectorWords, enact: replayed},
		script{setup: "shuffle", knows: `asks|shuffle|one_of|dispatch .+`, enact: shuffle},
		script{expects: "warning", knows: `max_demand|warning|upstream|ask \d+`, enact: excessiveDemand},
		script{expects: "runs_in", knows: `runs_in|observe where it runs`, enact: selectorInProducer},
		script{step: "subscribe twice", knows: `batches|subscribe twice|push 1`, enact: duplicateSubscription},
		script{expects: "on_cancel", knows: `on_cancel|later|\d+ odd events queued|odd dies|odd2 subscribes, asks \d+`, enact: partitionLeft},
		script{step: "each error", knows: `go_expect|each error`, enact: partitionErrors},
		script{step: "no partitions", knows: `errors|no partitions|named partitions without hash`, enact: partitionConfigErrors},
		script{step: "block ", knows: `max_demand|min_demand|events|even_received_at_most|then|observed_even|block odd in its first batch`, enact: partitionStalls},
	)
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

// shuffle: who is first is random once, and then it is by demand.
func shuffle(s *scene) {
	names := must(keysOf(s.Setup["asks"]))
	var asks map[string]int
	if err := json.Unmarshal(s.Setup["asks"], &asks); err != nil {
		s.Fatal(err)
	}
	var want []map[string][]any
	if err := json.Unmarshal(s.Expect.parts["one_of"], &want); err != nil {
		s.Fatal(err)
	}
	events := (&player{scene: s}).listed(strings.TrimPrefix(s.Steps[0], "dispatch "))
	seen := map[int]bool{}
	for seed := range uint64(40) {
		s.happened()
		p := s.producer("p", nil, stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] {
			return &stages.DemandDispatcher[any]{Shuffle: rand.New(rand.NewPCG(seed, 0))}
		}})
		for _, name := range names {
			s.asker(name, p, stages.SubscribeOptions[any]{}).Ask(asks[name])
		}
		synctest.Wait()
		s.push(p, events...)
		got := map[string][]any{}
		for _, e := range deliveries(s.happened()) {
			got[e[1].(string)] = append(got[e[1].(string)], e[2].([]any)...)
		}
		i := slices.IndexFunc(want, func(w map[string][]any) bool { return fmt.Sprint(w) == fmt.Sprint(got) })
		if i < 0 {
			s.Fatalf("seed %d: %v is none of %v", seed, got, want)
		}
		seen[i] = true
	}
	if len(seen) != len(want) {
		s.Errorf("40 seeds gave only outcomes %v", seen)
	}
}

func excessiveDemand(s *scene) {
	var ask int
	if _, err := fmt.Sscanf(s.Steps[0], "ask %d", &ask); err != nil || len(s.Steps) > 1 {
		s.Fatalf("unknown steps %q", s.Steps)
	}
	warned := 0
	p := s.producer("p", nil, stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] {
		return &stages.DemandDispatcher[any]{
			MaxDemand:   s.number("max_demand"),
			OnExcessive: func(_ stages.ConsumerID, asked int) { warned = asked },
		}
	}})
	s.asker("a", p, stages.SubscribeOptions[any]{}).Ask(ask)
	log := s.happened()
	s.want("warning", warned == ask)
	s.want("upstream", only(log, "demand")[0])
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

// partitionLeft: queued events wait for the partition's next consumer, also over a restart of the
// producer.
func partitionLeft(s *scene) {
	var queued int
	if _, err := fmt.Sscanf(s.Steps[0], "%d odd events queued", &queued); err != nil || queued < 2 {
		s.Fatalf("unknown steps %q", s.Steps)
	}
	events := make([]any, queued)
	for i := range events {
		events[i] = 2*i + 1
	}
	config := stages.PartitionConfig[any]{Partitions: 2, Hash: func(event any) (any, int, bool) { return event, event.(int) % 2, true }}
	p := s.idleProducer("p", nil, stages.OutletConfig[any]{Dispatcher: func() stages.Dispatcher[any] {
		return must(stages.NewPartitionDispatcher(config))
	}})
	r := s.start(p)
	s.asker("even", p, stages.SubscribeOptions[any]{}).Ask(queued)
	leaver := s.asker("odd", p, odd)
	synctest.Wait()
	s.push(p, events...)
	leaver.Cancel(nil)
	s.happened()
	s.asker("odd", p, odd).Ask(1)
	s.same("the next consumer gets", []entry{{"batch", "odd", events[:1]}}, deliveries(s.happened()))
	r.stop()
	synctest.Wait()
	s.start(p)
	synctest.Wait()
	s.asker("odd", p, odd).Ask(queued)
	s.same("after a restart", []entry{{"batch", "odd", events[1:]}}, deliveries(s.happened()))
}

func partitionErrors(s *scene) {
	s.tells("go_expect", "error returned to the subscriber / event dropped and reported; the producer lives")
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

// partitionConfigErrors: there are partitions, and a function that says which.
func partitionConfigErrors(s *scene) {
	s.want("errors", []string{"partitions required", "hash required"})
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
	s.tells("then", "stall, nothing more while odd is blocked")
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
	if err := json.Unmarshal(s.Expect.parts["even_received_at_most"], &most); err != nil {
		s.Fatal(err)
	}
	if received == 0 || received > most {
		s.Errorf("even received %d, want 1 to %d", received, most)
	}
}
