package stages_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
)

func bufferDefault(s *scene) {
	reports := []int{}
	p := s.producer("p", nil, stages.OutletConfig[any]{OnDiscard: func(n int) bool {
		reports = append(reports, n)
		return false
	}})
	s.push(p, numbers(1, 10050)...)
	s.want("discard_reports", reports)
	c := s.consumer("c")
	must(c.Subscribe(p, demand(20_000, 0)))
	got := only(s.happened(), "batch")[0].([]any)
	s.want("buffered", len(got))
	s.want("first_delivered", got[0])
}

func unbuffered(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{Buffer: new(0)})
	c := s.consumer("c")
	must(c.Subscribe(p, demand(2, 0)))
	synctest.Wait()
	err := p.Emit(s.Context(), numbers(1, 5))
	if surplus, ok := errors.AsType[*stages.SurplusError](err); !ok || surplus.Events != 3 {
		s.Errorf("Emit of 5 against demand 2 = %v, want a surplus of 3", err)
	}
	s.same("batches", [][]int{{1, 2}}, only(s.happened(), "batch"))
}

// bufferKeep pushes what the steps say, and then lets a consumer have what was kept.
func bufferKeep(s *scene) {
	keep := map[string]stages.Keep{"first": stages.KeepFirst, "last": stages.KeepLast}[s.text("buffer_keep")]
	discarded := 0
	p := s.producer("p", nil, stages.OutletConfig[any]{
		Buffer: new(s.number("buffer_size")), Keep: keep, OnDiscard: func(n int) bool {
			discarded += n
			return false
		},
	})
	for _, step := range s.Steps {
		pushed, ok := strings.CutPrefix(step, "push ")
		if !ok {
			s.same("the last step", "subscribe", step)
			continue
		}
		var events []any
		for word := range strings.FieldsSeq(pushed) {
			events = append(events, word)
		}
		s.push(p, events...)
	}
	c := s.consumer("c")
	must(c.Subscribe(p, s.terms()))
	log := s.happened()
	s.want("discarded", discarded)
	s.want("batches", only(log, "batch"))
	s.want("demands", only(log, "demand"))
}

// discardCallback: the hook decides on the warning, and without one there is a warning.
func discardCallback(s *scene) {
	for _, hook := range []func(n int) bool{
		nil,
		func(n int) bool { s.want("hook_count", n); return true },
		func(n int) bool { s.want("hook_count", n); return false },
	} {
		var log strings.Builder
		p := s.producer("p", nil, stages.OutletConfig[any]{
			Buffer: new(s.number("buffer_size")), Keep: stages.KeepFirst, OnDiscard: hook,
			Name: "pages", Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		s.push(p, numbers(1, 8)...)
		warned := strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), "stage=pages count=3 buffer=5")
		if want := hook == nil || hook(3); warned != want {
			s.Errorf("hook %v: warned = %v, want %v:\n%s", hook != nil, warned, want, &log)
		}
	}
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
	p := s.producer("p", nil, stages.OutletConfig[any]{Buffer: new(stages.Unlimited)})
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
