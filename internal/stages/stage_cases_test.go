package stages_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
)

// Cases of stages and their subscriptions.
func TestStageCases(t *testing.T) {
	enact(t, "stage", playStages,
		script{setup: "file", knows: vectorWords, enact: replayed},
		script{expects: "hook_count", knows: `buffer_size|buffer_keep|hook_(?:count|true|false)|push \d+`, enact: discardCallback},
		script{expects: "go_expect", setup: "buffer_size", knows: `buffer_size|go_expect|start`, enact: unbuffered},
		script{step: "stream it", knows: `source|streamed|source_after|consumer|stream it|subscribe a transient consumer to 1..\d+`, enact: fromSeq},
		script{step: "take ", knows: `source|max_demand|min_demand|taken|producer|take \d+`, enact: streamHalt},
		script{step: "call queue ", knows: `order|call queue \[\w+(?:,\w+)*\]`, enact: emitReturnsAfterDelivery},
		script{step: "consumer handler", knows: `effect|consumer handler returns events`, enact: func(s *scene) {
			s.tells("effect", "logged, ignored") // there is nothing to return events with
		}},
		script{step: "see ", knows: `book|rule|see stage-book-max3`, enact: demandOfTheRest},
		script{expects: "errors", knows: `errors|producer subscribes|cancel \w+|` + wrongDemand, enact: subscribeErrors},
		script{expects: "consumer", knows: `consumer|permanent|transient|temporary`, enact: subscribeMissing},
		script{expects: "producer_ends", knows: cancelWords, enact: cancelModes},
		script{expects: "explicit_cancel", knows: cancelWords, enact: cancelModes},
		script{expects: "answers", knows: `answers|(?:ask|deliver) with unknown ref|subscribe twice with one ref`, enact: unknownSubscription},
	)
}

// demandOfTheRest: the producer is asked for what its buffer did not have, and not at all if that is nothing.
func demandOfTheRest(s *scene) {
	s.tells("rule", "called iff unmet demand > 0")
	c := s.consumer("c")
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	must(c.Subscribe(p, demand(3, 0)))
	synctest.Wait()
	s.push(p, 1, 2, 3, 4, 5)
	s.same("demands", []int{3, 1}, only(s.happened(), "demand"))
}

func numbers(from, to int) (events []any) {
	for n := from; n <= to; n++ {
		events = append(events, n)
	}
	return events
}

// emitReturnsAfterDelivery: whoever emits knows that the events are where they belong.
func emitReturnsAfterDelivery(s *scene) {
	s.same("order", []string{"events delivered", "reply received"}, s.Expect.parts["order"])
	var events []any
	for event := range strings.SplitSeq(strings.Trim(strings.TrimPrefix(s.Steps[0], "call queue "), "[]"), ",") {
		events = append(events, event)
	}
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.gated("c")
	must(c.Subscribe(p, demand(10, 0)))
	synctest.Wait()
	if err := p.Emit(s.Context(), events); err != nil {
		s.Error(err)
	}
	// Emit has returned: a consumer that fails now finds the events in its next Run.
	s.same("batch", []any{events}, only(s.happened(), "batch"))
}
