package stages_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
)

func TestStageCases(t *testing.T) {
	enact(t, "stage.json", map[string]func(*scene){
		"stage-demand-*":                         outstandingDemand,
		"stage-batches-*":                        batches,
		"stage-book-max3":                        bookMax3,
		"stage-producer-handle-demand-only-rest": bookMax3Demand,
		"stage-book-two-consumers":               bookTwoConsumers,
		"stage-split-vectors":                    func(s *scene) { s.Log("see TestDemandVectors") },
		"stage-buffer-vectors":                   func(s *scene) { s.Log("see TestBufferVectors") },
		"stage-buffer-default":                   bufferDefault,
		"stage-buffer-size-0":                    unbuffered,
		"stage-buffer-keep-*":                    bufferKeep,
		"stage-discard-callback":                 discardCallback,
		"stage-info-ordering":                    infoOrdering,
		"stage-buffer-before-demand":             bufferBeforeDemand,
		"stage-buffer-infinity":                  bufferUnlimited,
		"stage-push-more-than-demand":            pushMoreThanDemand,
		"stage-emit-any-callback":                emitInOrder,
		"stage-call-events-before-reply":         emitReturnsAfterDelivery,
		"stage-accumulate-forward":               accumulateForward,
		"stage-from-enumerable":                  fromSeq,
		"stage-stream-halt":                      streamHalt,
		"stage-async-subscribe":                  asyncSubscribe,
		"stage-subscribe-errors":                 subscribeErrors,
		"stage-subscribe-missing":                subscribeMissing,
		"stage-cancel-*":                         cancelModes,
		"stage-resubscribe":                      resubscribe,
		"stage-consumer-death-demand":            consumerDeath,
		"stage-consumer-emits":                   func(s *scene) { s.Log("the handler of a consumer has nothing to return events with") },
		"stage-async-ask-unknown-subscription":   unknownSubscription,
		"pc-filter":                              processorFilter,
		"pc-expand":                              processorExpand,
		"pc-backpressure":                        processorBackpressure,
		"pc-two-book":                            processorsShareWork,
		"pc-late-subscription":                   processorLateSubscription,
	}, stageForms()...)
}

// stageForms are how cases with ids that nobody knows are played.
func stageForms() []form {
	return []form{
		{[]string{"max_demand", "min_demand", "producer"}, []string{"before_batch1_done", "after_batch1", "after_batch2", "outstanding_after"}, outstandingDemand},
		{[]string{"max_demand", "min_demand", "producer"}, []string{"batches", "demands"}, batches},
		{[]string{"buffer_size", "buffer_keep", "max_demand"}, []string{"discarded", "batches", "demands"}, bufferKeep},
		{[]string{"cancel"}, []string{"producer_ends"}, cancelModes},
	}
}

// Cases with another id than ours are played, if we have their form.
func TestStageCasesByForm(t *testing.T) {
	played := 0
	for _, c := range cases(t, "stage.json") {
		if script := byForm(stageForms(), c); script != nil {
			played++
			name := c.ID
			c.ID = "unknown"
			t.Run(name, func(t *testing.T) { play(t, c, script) })
		}
	}
	if played < 13 {
		t.Errorf("%d cases have a form", played)
	}
}

// once is a source of the ints below limit, all at the first demand.
func once(limit int) func(int) []any {
	source := upTo(limit)
	return func(int) []any { return source(limit) }
}

func outstandingDemand(s *scene) {
	emitted := s.found("producer", `^emits (\d+)`)
	c := s.gated("c")
	outstanding := 0
	track := func(log []entry) []entry {
		for _, e := range log {
			if e[0] == "demand" {
				outstanding += e[2].(int)
			}
		}
		return brief(log)
	}
	p := s.producer("p", once(emitted), stages.OutletConfig[any]{})
	must(c.Subscribe(p, s.terms()))
	s.want("before_batch1_done", track(s.happened()))
	outstanding -= emitted
	if _, ok := s.Expect["outstanding_while_batch1_runs"]; ok {
		s.want("outstanding_while_batch1_runs", outstanding)
	}
	s.want("after_batch1", track(s.release(c)))
	s.want("after_batch2", track(s.release(c)))
	s.want("outstanding_after", outstanding)
}

func batches(s *scene) {
	c := s.consumer("c")
	p := s.producer("p", upTo(s.found("producer", `^emits exactly the demand until (\d+) events$`)), stages.OutletConfig[any]{})
	must(c.Subscribe(p, s.terms()))
	log := s.happened()
	s.want("batches", only(log, "batch"))
	s.want("demands", only(log, "demand"))
}

func pages(s *scene) []any {
	var log []entry
	if err := json.Unmarshal(s.Expect["events"], &log); err != nil {
		s.Fatal(err)
	}
	var pages []any
	for _, batch := range only(log, "batch") {
		pages = append(pages, batch.([]any)...)
	}
	return pages
}

func bookMax3(s *scene) {
	c := s.consumer("c")
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	must(c.Subscribe(p, s.terms()))
	synctest.Wait()
	s.push(p, pages(s)...)
	s.want("events", s.happened())
	s.push(p, "x")
	s.want("then_one_more", s.happened())
}

func bookMax3Demand(s *scene) {
	c := s.consumer("c")
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	must(c.Subscribe(p, demand(3, 0)))
	synctest.Wait()
	s.push(p, 1, 2, 3, 4, 5)
	s.same("demands", []int{3, 1}, only(s.happened(), "demand"))
}

func bookTwoConsumers(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := map[string]*consumer{"a": s.gated("a"), "b": s.gated("b")}
	for _, name := range []string{"a", "b"} {
		must(c[name].Subscribe(p, s.terms()))
		s.happened()
	}
	var rounds [][]entry
	s.push(p, "google.com", "facebook.com", "apple.com", "netflix.com", "amazon.com")
	rounds = append(rounds, s.happened())
	for _, name := range []string{"b", "a", "a", "b"} {
		rounds = append(rounds, s.release(c[name]))
	}
	var want [][]any
	if err := json.Unmarshal(s.Expect["rounds"], &want); err != nil {
		s.Fatal(err)
	}
	for i, round := range rounds {
		s.same(fmt.Sprint("round ", i), want[i], round)
	}
}

func numbers(from, to int) (events []any) {
	for n := from; n <= to; n++ {
		events = append(events, n)
	}
	return events
}

// infoOrdering: what is sent behind the buffer is read between the events on both sides of it.
func infoOrdering(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	s.push(p, 1, 2)
	if err := p.AfterBuffer(func() { s.note("pinfo", "p", "after_1_2") }); err != nil {
		s.Error(err)
	}
	s.push(p, 3)
	s.want("before", s.happened())
	c := s.consumer("c")
	must(c.Subscribe(p, demand(1, 0)))
	log := slices.DeleteFunc(s.happened(), func(e entry) bool { return e[0] == "done" })
	for i, e := range log {
		if e[0] == "psub" || e[0] == "pinfo" {
			log[i] = slices.DeleteFunc(e, func(part any) bool { return part == "p" && e[0] == "pinfo" })
		}
	}
	var want []entry
	if err := json.Unmarshal(s.Expect["after"], &want); err != nil {
		s.Fatal(err)
	}
	who := func(log []entry, name string) (found []entry) {
		for _, e := range log {
			if of := map[any]string{"psub": "p", "pinfo": "p", "demand": "p", "batch": "c"}[e[0]]; of == name {
				found = append(found, e)
			}
		}
		return found
	}
	for _, name := range []string{"p", "c"} {
		s.same(name, plain(s.T, who(want, name)), plain(s.T, who(log, name)))
	}
}

func pushMoreThanDemand(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.consumer("c")
	must(c.Subscribe(p, s.terms()))
	s.happened()
	s.push(p, numbers(1, 25)...)
	s.want("events", s.happened())
	s.want("buffered", p.Buffered())
}

// emitInOrder: Emit is the one way to emit from outside, for calls, casts and messages alike.
func emitInOrder(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.consumer("c")
	must(c.Subscribe(p, demand(10, 0)))
	for n := 1; n <= 3; n++ {
		s.push(p, n)
	}
	s.want("batches", only(s.happened(), "batch"))
}

func emitReturnsAfterDelivery(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.gated("c")
	must(c.Subscribe(p, demand(10, 0)))
	synctest.Wait()
	if err := p.Emit(s.Context(), []any{"a", "b", "c"}); err != nil {
		s.Error(err)
	}
	// Emit has returned: a consumer that fails now finds the events in its next Run.
	s.same("batch", [][]string{{"a", "b", "c"}}, only(s.happened(), "batch"))
}

func accumulateForward(s *scene) {
	p := s.producer("p", upTo(50), stages.OutletConfig[any]{Paused: true})
	c1, c2 := s.gated("c1"), s.gated("c2")
	must(c1.Subscribe(p, demand(4, 0)))
	synctest.Wait()
	must(c2.Subscribe(p, demand(4, 0)))
	s.want("while_accumulating", s.happened())
	s.all.Go(func() { _ = p.Emit(s.Context(), []any{"q1", "q2"}) })
	s.want("push_while_accumulating", s.happened())
	p.Resume()
	log := s.happened()
	log = append(log, s.release(c1)...)
	log = append(log, s.release(c2)...)
	// What the consumers get after their first batch is not part of the case.
	log = slices.DeleteFunc(log, func(e entry) bool {
		return e[0] == "done" || e[0] == "batch" && e[2].([]any)[0] != 0 && e[2].([]any)[0] != 4
	})
	s.want("first_after_forward", log)
}
