package stages_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/stages"
)

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
