package stages_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
)

// unbuffered: without a buffer what is more than the demand is refused.
func unbuffered(s *scene) {
	s.tells("go_expect", "either support 0 (drop all surplus) or reject with a clear error")
	if s.number("buffer_size") != 0 {
		s.Fatalf("buffer_size %d", s.number("buffer_size"))
	}
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

// discardCallback: the hook decides on the warning, and without one there is a warning.
func discardCallback(s *scene) {
	var pushed int
	if _, err := fmt.Sscanf(s.Steps[0], "push %d", &pushed); err != nil || len(s.Steps) > 1 {
		s.Fatalf("unknown steps %q", s.Steps)
	}
	s.tells("hook_true", "default warning too")
	s.tells("hook_false", "no default warning")
	keep, ok := map[string]stages.Keep{"first": stages.KeepFirst, "last": stages.KeepLast}[s.text("buffer_keep")]
	if !ok {
		s.Fatalf("unknown buffer_keep %q", s.text("buffer_keep"))
	}
	size := s.number("buffer_size")
	line := fmt.Sprintf("stage=pages count=%d buffer=%d", pushed-size, size)
	for _, hook := range []func(n int) bool{
		nil,
		func(n int) bool { s.want("hook_count", n); return true },
		func(n int) bool { s.want("hook_count", n); return false },
	} {
		var log strings.Builder
		p := s.producer("p", nil, stages.OutletConfig[any]{
			Buffer: &size, Keep: keep, OnDiscard: hook,
			Name: "pages", Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		s.push(p, numbers(1, pushed)...)
		warned := strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), line)
		if want := hook == nil || hook(pushed-size); warned != want {
			s.Errorf("hook %v: warned = %v, want %v:\n%s", hook != nil, warned, want, &log)
		}
	}
}
