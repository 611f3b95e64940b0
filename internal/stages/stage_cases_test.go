package stages_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

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
		"stage-buffer-keep-first":                bufferKeepFirst,
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
		"stage-cancel-permanent":                 func(s *scene) { cancelModes(s, stages.Permanent) },
		"stage-cancel-transient":                 func(s *scene) { cancelModes(s, stages.Transient) },
		"stage-cancel-temporary":                 func(s *scene) { cancelModes(s, stages.Temporary) },
		"stage-resubscribe":                      resubscribe,
		"stage-consumer-death-demand":            consumerDeath,
		"stage-async-ask-unknown-subscription":   unknownSubscription,
		"pc-filter":                              processorFilter,
		"pc-expand":                              processorExpand,
		"pc-backpressure":                        processorBackpressure,
		"pc-two-book":                            processorsShareWork,
		"pc-late-subscription":                   processorLateSubscription,
	})
}

// once is a source of the ints below limit, all at the first demand.
func once(limit int) func(int) []any {
	source := upTo(limit)
	return func(int) []any { return source(limit) }
}

func outstandingDemand(s *scene) {
	emitted := 1000
	if _, ok := s.Expect["outstanding_while_batch1_runs"]; ok {
		emitted = 600
	}
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
	var n int
	if _, err := fmt.Sscanf(s.ID[len(s.ID)-len("nXX"):], "n%d", &n); err != nil {
		if _, err := fmt.Sscanf(s.ID[len(s.ID)-len("nX"):], "n%d", &n); err != nil {
			s.Fatal(err)
		}
	}
	c := s.consumer("c")
	p := s.producer("p", upTo(n), stages.OutletConfig[any]{})
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

func bufferDefault(s *scene) {
	reports := []int{}
	p := s.producer("p", nil, stages.OutletConfig[any]{OnDiscard: func(n int) { reports = append(reports, n) }})
	s.push(p, numbers(1, 10050)...)
	s.want("discard_reports", reports)
	c := s.consumer("c")
	must(c.Subscribe(p, demand(20_000, 0)))
	got := only(s.happened(), "batch")[0].([]any)
	s.want("buffered", len(got))
	s.want("first_delivered", got[0])
}

func unbuffered(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{Buffer: stages.Unbuffered})
	c := s.consumer("c")
	must(c.Subscribe(p, demand(2, 0)))
	synctest.Wait()
	err := p.Emit(s.Context(), numbers(1, 5))
	if surplus, ok := errors.AsType[*stages.SurplusError](err); !ok || surplus.Events != 3 {
		s.Errorf("Emit of 5 against demand 2 = %v, want a surplus of 3", err)
	}
	s.same("batches", [][]int{{1, 2}}, only(s.happened(), "batch"))
}

func bufferKeepFirst(s *scene) {
	discarded := 0
	p := s.producer("p", nil, stages.OutletConfig[any]{
		Buffer: s.number("buffer_size"), Keep: stages.KeepFirst, OnDiscard: func(n int) { discarded += n },
	})
	s.push(p, "a", "b", "c", "d", "e")
	s.push(p, "f", "g", "h")
	c := s.consumer("c")
	must(c.Subscribe(p, s.terms()))
	log := s.happened()
	s.want("discarded", discarded)
	s.want("batches", only(log, "batch"))
	s.want("demands", only(log, "demand"))
}

func bufferBeforeDemand(s *scene) {
	source := upTo(1000)
	p := s.producer("p", source, stages.OutletConfig[any]{})
	s.push(p, "a", "b", "c")
	s.push(p, "d", "e")
	c := s.gated("c")
	must(c.Subscribe(p, s.terms()))
	log := s.happened()
	for range 3 {
		log = append(log, s.release(c)...)
	}
	s.want("events", log)
}

func bufferUnlimited(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{Buffer: stages.Unlimited})
	var counts []int
	for _, events := range [][]any{{"a", "b", "c", "d", "e"}, {"f", "g", "h"}} {
		s.push(p, events...)
		counts = append(counts, p.Buffered())
	}
	s.want("counts", counts)
	c := s.consumer("c")
	must(c.Subscribe(p, demand(4, 0)))
	s.want("batches", only(s.happened(), "batch"))
	s.want("final_count", p.Buffered())
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
		{MaxDemand: -1}, {MaxDemand: 10, MinDemand: 10}, {MinDemand: 2000}, {Cancel: stages.Temporary + 1},
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
	errShutdownX = fmt.Errorf("%w: x", stages.ErrShutdown)
)

// ending is a producer that ends for a reason when it is asked for something.
func ending(s *scene, reason string) *stages.Producer[any] {
	results := map[string]error{
		"normal": stages.ErrDone, "shutdown": stages.ErrShutdown, "shutdown_x": errShutdownX, "boom": errBoom,
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
	case errors.Is(r.result(), stages.ErrShutdown):
		return "shutdown"
	case errors.Is(r.result(), stages.ErrCrashed):
		return "killed"
	}
	return r.result().Error()
}

func cancelModes(s *scene, mode stages.Mode) {
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
	reasons := map[string]error{"normal": nil, "shutdown": stages.ErrShutdown, "boom": errBoom}
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
		OnCancel: func(reason error) { s.note("pcancel", "p", []any{"cancel", reason.Error()}) },
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
		OnCancel: func(error) { s.note("pcancel", "p", []any{"down", "killed"}) },
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

// unknownSubscription: handles exclude references nobody knows, and one reference for two subscriptions. What remains is an
// Ask on a subscription that has ended: the demand comes back.
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

// processor is one whose batches are logged as [pc, name, events].
func (s *scene) processor(name string, f func(event int) []any) *stages.Processor[any, any] {
	p := must(stages.NewProcessor(stages.ProcessorConfig[any, any]{
		Handle: func(_ context.Context, batch, out []any) ([]any, error) {
			s.note("pc", name, append([]any{}, batch...))
			for _, event := range batch {
				out = append(out, f(event.(int))...)
			}
			return out, nil
		},
	}))
	s.start(p)
	return p
}

func identity(event int) []any { return []any{event} }

func processorFilter(s *scene) {
	p := s.producer("p", upTo(30), stages.OutletConfig[any]{})
	d := s.processor("d", func(event int) []any {
		if event%3 == 0 {
			return []any{event}
		}
		return nil
	})
	must(d.Subscribe(p, demand(s.number("pc_max"), s.number("pc_min"))))
	before := []any{}
	for _, e := range s.happened() {
		if e[0] != "psub" {
			before = append(before, []any{e[0], e[2]})
		}
	}
	s.want("before_downstream", before)
	c := s.consumer("c")
	must(c.Subscribe(d, demand(s.number("c_max"), s.number("c_min"))))
	log := s.happened()
	delivered := []any{}
	for _, batch := range only(log, "batch") {
		delivered = append(delivered, batch.([]any)...)
	}
	s.want("delivered_in_order", delivered)
	longest := 0
	for _, batch := range only(log, "pc") {
		longest = max(longest, len(batch.([]any)))
	}
	s.want("pc_batches_max", longest)
}

func processorExpand(s *scene) {
	p := s.producer("p", upTo(1000), stages.OutletConfig[any]{})
	d := s.processor("d", func(event int) []any { return []any{event, event} })
	c := s.gated("c")
	must(c.Subscribe(d, demand(s.number("c_max"), s.number("c_min"))))
	synctest.Wait()
	must(d.Subscribe(p, demand(s.number("pc_max"), s.number("pc_min"))))
	s.want("initial", s.happened())
	s.want("buffered", d.Buffered())
	s.want("after_first_batch_done", s.release(c))
}

func processorBackpressure(s *scene) {
	emitted := 0
	source := upTo(1000)
	p := s.producer("p", func(n int) []any { emitted += n; return source(n) }, stages.OutletConfig[any]{})
	d := s.processor("x", identity)
	c := s.gated("c")
	must(c.Subscribe(d, demand(s.number("c_max"), s.number("c_min"))))
	synctest.Wait()
	must(d.Subscribe(p, demand(s.number("pc_max"), s.number("pc_min"))))
	s.want("events", s.happened())
	s.want("producer_emitted_at_most", emitted)
}

func processorsShareWork(s *scene) {
	var durations map[string]int
	if err := json.Unmarshal(s.Setup["pc_durations_ms"], &durations); err != nil {
		s.Fatal(err)
	}
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.consumer("c")
	for _, name := range []string{"a", "b"} {
		d := must(stages.NewProcessor(stages.ProcessorConfig[any, any]{
			Handle: func(_ context.Context, batch, out []any) ([]any, error) {
				s.note("pc_"+name, "", append([]any{}, batch...))
				time.Sleep(time.Duration(durations[name]) * time.Millisecond)
				return append(out, batch...), nil
			},
		}))
		s.start(d)
		must(d.Subscribe(p, demand(1, 0)))
		synctest.Wait()
		must(c.Subscribe(d, demand(1, 0)))
		synctest.Wait()
	}
	s.push(p, "google.com", "facebook.com", "apple.com", "netflix.com", "amazon.com")
	time.Sleep(time.Second)
	log := s.happened()
	s.want("pc_a", only(log, "pc_a"))
	s.want("pc_b", only(log, "pc_b"))
	consumed := []string{}
	for _, batch := range only(log, "batch") {
		consumed = append(consumed, batch.([]any)[0].(string))
	}
	slices.Sort(consumed)
	s.want("consumed", consumed)
}

func processorLateSubscription(s *scene) {
	var terms [2][2]int
	for i, key := range []string{"pc", "c"} {
		if err := json.Unmarshal(s.Setup[key], &terms[i]); err != nil {
			s.Fatal(err)
		}
	}
	for _, late := range []bool{false, true} {
		s.happened()
		p := s.producer("p", upTo(1000), stages.OutletConfig[any]{})
		d := s.processor("d", func(event int) []any { return []any{event, event} })
		c := s.consumer("c")
		if late {
			must(d.Subscribe(p, demand(terms[0][0], terms[0][1])))
			synctest.Wait()
		}
		must(c.Subscribe(d, demand(terms[1][0], terms[1][1])))
		synctest.Wait()
		if !late {
			must(d.Subscribe(p, demand(terms[0][0], terms[0][1])))
		}
		log := brief(s.happened())
		for i, batch := range only(log, "pc")[:6] {
			s.same("processor's batch", [2]int{i * 20, i*20 + 19}, [2]any{batch.([]any)[0], batch.([]any)[19]})
		}
		for i, batch := range only(log, "batch")[:2] {
			s.same("consumer's batch", [3]int{40, i * 20, i*20 + 19}, batch)
		}
	}
}
