package pipeline_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/millhand/millhand/pipeline"
)

// Demand is what the source is asked for, which it is not while the limiter keeps it shut. Who is asked in
// groups there is asked for single messages here, so what is compared after an update is which were
// handled and settled.
func rateLimitUpdate(s *scene) {
	c := s.described()
	rate, ok := c.Limit.(*pipeline.Rate)
	if !ok {
		s.Fatalf("limit %v", c.Limit)
	}
	s.start(c)
	s.source.push(s.values("0..9", false)...)
	before := slices.Concat([]entry{{"demand", c.InFlight}}, slices.DeleteFunc(s.happened("h", "ack", "demand"), func(e entry) bool { return e[0] == "demand" }))
	gets := 0
	for _, step := range s.Steps {
		if rest, ok := strings.CutPrefix(step, "update "); ok {
			s.update(rate, rest)
			continue
		}
		switch step {
		case "run", "start":
			s.want("before", before, false)
		case "get":
			gets++
			s.wantRate(rate, gets)
		default:
			s.wait(step)
		}
	}
	if gets++; s.Expect["get"+strconv.Itoa(gets)] != nil {
		s.wantRate(rate, gets)
	}
}

// update changes the limit as a step says, and compares what it lets through.
func (s *scene) update(rate *pipeline.Rate, how string) {
	s.Helper()
	var allowed int
	if _, err := fmt.Sscanf(how, "allowed %d", &allowed); err != nil {
		s.Fatalf("unknown step %q: %v", "update "+how, err)
	}
	key := "after_update"
	if strings.Contains(how, "reset") {
		rate.Reset() // first: what is started between the two counts
		key = "after_update_reset"
	}
	rate.Set(allowed, s.ms("interval_ms", 1000))
	got := s.happened("h", "ack")
	if s.Expect[key] == nil {
		return
	}
	list, _ := s.decoded(key).([]any)
	var want []entry
	for _, e := range list {
		if l, ok := e.([]any); ok {
			want = append(want, l)
		}
	}
	for kind, of := range map[string]func(entry) []any{
		"h":   func(e entry) []any { return e[1:2] },
		"ack": func(e entry) []any { return e[2].([]any) },
	} {
		if w, g := count(want, kind, of), count(got, kind, of); w != g {
			s.Errorf("%s: %d of %q, want %d: %v", key, g, kind, w, got)
		}
	}
}

func count(log []entry, kind string, of func(entry) []any) (n int) {
	for _, e := range log {
		if e[0] == kind {
			n += len(of(e))
		}
	}
	return n
}

// wantRate compares what the limit is with the nth get.
func (s *scene) wantRate(rate *pipeline.Rate, n int) {
	s.Helper()
	key := "get"
	if n > 1 {
		key += strconv.Itoa(n)
	}
	limit, per := rate.Limit()
	s.want(key, []any{"ok", map[string]any{"allowed_messages": limit, "interval": per.Milliseconds()}}, false)
}

// There is no limiter to ask: who has none cannot change one.
func rateLimitOff(s *scene) {
	s.want("results", slices.Repeat([]any{"error rate_limiting_not_enabled"}, len(s.Steps)), false)
	c := s.config(2)
	if c.Limit != nil {
		s.Error("there is a limiter by default")
	}
	s.start(c)
	s.source.push(s.values("1..50", false)...)
	if got := s.happened("ack"); len(got) == 0 {
		s.Error("nothing was handled without a limiter")
	}
}
