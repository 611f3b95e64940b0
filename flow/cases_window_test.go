package flow_test

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/flow"
)

// window is the kind of the case's windows, and what describes them.
func (s *script) window() (kind, text string) {
	text = s.text("window")
	if text == "" && strings.HasPrefix(s.c.Title, "fixed window + trigger") {
		text = "fixed 1 s" // which the ids of its windows say
	}
	kind, _, _ = strings.Cut(text, " ")
	return strings.TrimSuffix(kind, ","), text
}

var (
	countOf     = regexp.MustCompile(`^count (\d+)$`)
	fixedOf     = regexp.MustCompile(`^fixed (\d+ \w+)$`)
	slidingOf   = regexp.MustCompile(`^sliding (\d+ \w+)(?: every (\d+ \w+))?$`)
	sessionOf   = regexp.MustCompile(`^session (\d+ \w+)$`)
	periodicOf  = regexp.MustCompile(`^periodic (\d+ \w+)$`)
	latenessOf  = regexp.MustCompile(`^(?:allowed )?lateness (\d+ \w+)$`)
	delayOf     = regexp.MustCompile(`^delay (\d+ \w+)$`)
	everyOf     = regexp.MustCompile(`^(?:trigger )?every (\d+)$`)
	periodOf    = regexp.MustCompile(`^(?:trigger )?(?:periodically|each) (\d+ \w+)$`)
	globalEvery = regexp.MustCompile(`^global every (\d+)$`)
	everyInText = regexp.MustCompile(`trigger(?:s)? every (\d+)`)
)

// windows describes the windows of the case. It returns false if there are none.
func (s *script) windows() (w flow.Window[any], ok bool) {
	_, text := s.window()
	kind, options, _ := strings.Cut(text, ",")
	if kind = globalEvery.ReplaceAllString(kind, "global, every $1"); strings.HasPrefix(kind, "global, ") {
		kind, options, _ = strings.Cut(kind+","+options, ",")
	}
	at := func(x any) time.Time { return x.(timed).At }
	period, n := s.period(), s.every()
	switch {
	case countOf.MatchString(kind):
		w = flow.Count[any](s.int(countOf.FindStringSubmatch(kind)[1]))
	case periodicOf.MatchString(kind):
		w = flow.Periodic[any](s.duration(periodicOf.FindStringSubmatch(kind)[1]))
	case fixedOf.MatchString(kind):
		w = flow.Fixed(s.duration(fixedOf.FindStringSubmatch(kind)[1]), at)
	case slidingOf.MatchString(kind):
		m := slidingOf.FindStringSubmatch(kind)
		w = flow.Sliding(s.duration(m[1]), s.duration(cmp.Or(m[2], m[1])), at)
	case sessionOf.MatchString(kind):
		w = flow.Session(s.duration(sessionOf.FindStringSubmatch(kind)[1]), at)
	case kind == "global":
		w = flow.Global[any]()
	case kind != "":
		s.Fatalf("nobody knows the window %q", text)
	case s.marker() != "" || period > 0 || n > 0:
		w = flow.Global[any]()
	default:
		return w, false
	}
	for option := range strings.SplitSeq(options, ",") {
		if option = strings.TrimSpace(option); option == "" {
			continue
		}
		m := latenessOf.FindStringSubmatch(option)
		switch {
		case m != nil:
			w = w.Late(s.duration(m[1]))
		case delayOf.MatchString(option):
			w = w.Delay(s.duration(delayOf.FindStringSubmatch(option)[1]))
		case !everyOf.MatchString(option) && !periodOf.MatchString(option): // those are s.every and s.period
			s.Fatalf("nobody knows what %q means of a window", option)
		}
	}
	w = w.EveryN(n).EveryPeriod(period)
	if s.marker() != "" {
		w = w.When(func(x any) flow.Mark {
			switch {
			case canonical(valueOf(x)) != canonical(s.marker()):
				return flow.Plain
			case s.text("punctuation") == "pre":
				return flow.Before
			case s.text("punctuation") == "post":
				return flow.After
			default:
				return flow.Only
			}
		})
	}
	if s.c.Verdict == "carry" || s.variant.empty { // Flow emits windows without events
		w = w.Empty()
	}
	return w, true
}

// every is how many events trigger an emission: as the setup, the window or the title says it.
func (s *script) every() int {
	if n := s.number("trigger_every", s.number("every", 0)); n > 0 {
		return n
	}
	for option := range strings.SplitSeq(s.text("trigger")+","+strings.ReplaceAll(s.text("window"), "global every", "global, every"), ",") {
		if m := everyOf.FindStringSubmatch(strings.TrimSpace(option)); m != nil {
			return s.int(m[1])
		}
	}
	if m := everyInText.FindStringSubmatch(s.c.Title); m != nil {
		return s.int(m[1])
	}
	return 0
}

// period is how much time triggers one.
func (s *script) period() time.Duration {
	for option := range strings.SplitSeq(s.text("trigger")+","+s.text("window"), ",") {
		if m := periodOf.FindStringSubmatch(strings.TrimSpace(option)); m != nil {
			return s.duration(m[1])
		}
	}
	return time.Duration(s.number("trigger_ms", 0)) * time.Millisecond
}

// marker is the event that the source of a case of punctuation is cut at: a word among numbers.
func (s *script) marker() string {
	list, _ := s.c.Setup["source"].([]any)
	if marker := s.text("marker"); marker != "" {
		return marker
	}
	if !strings.Contains(s.c.Title, "trigger") && !strings.Contains(s.c.Title, "punctuation") {
		return ""
	}
	for _, e := range list {
		if word, ok := e.(string); ok {
			return word
		}
	}
	return ""
}

func (s *script) duration(text string) time.Duration {
	n, unit, _ := strings.Cut(text, " ")
	units := map[string]time.Duration{"h": time.Hour, "min": time.Minute, "s": time.Second, "ms": time.Millisecond}
	if units[unit] == 0 {
		s.Fatalf("nobody knows the unit of %q", text)
	}
	return time.Duration(s.int(n)) * units[unit]
}

// by is the stream with keys: those of the setup's hash, which are partitions too, or the events' own.
func (s *script) by(key func(any) any) flow.Keyed[any, any] {
	partitions := s.partition
	if partitions == 0 {
		partitions = s.number("partitions", s.number("stages", 1))
	}
	hash := s.text("hash")
	if m := regexp.MustCompile(`mod (\d+)$`).FindStringSubmatch(hash); m != nil && s.c.Setup["partitions"] == nil {
		partitions = s.int(m[1])
	}
	switch {
	case key != nil:
	case hash != "":
		f := s.function(hash)
		key = func(x any) any { return f(valueOf(x)) }
	default:
		key = func(x any) any { return canonical(valueOf(x)) } // lists are no keys
	}
	keyed := flow.By(s.stream, key).Partitions(partitions)
	if hash != "" {
		keyed = keyed.PartitionBy(func(k any) int { return k.(int) })
	}
	if w, ok := s.windows(); ok {
		keyed = keyed.Within(w)
	}
	return keyed
}

func valueOf(x any) any {
	if e, ok := x.(timed); ok {
		return e.Value
	}
	return x
}

func (s *script) reduced() flow.Reduced[any] {
	r := s.reduce
	return flow.Reduce(s.by(nil), func() any { return r.zero }, func(acc, x any) any { return r.add(acc, valueOf(x)) })
}

// emitted is what the reduction yields: its states, or with windows one entry a trigger in the form that
// is expected.
func (s *script) emitted() flow.Stream[any] {
	if _, ok := s.windows(); !ok || s.parts {
		return s.reduced().Emit()
	}
	form := s.form()
	if kind, _ := s.window(); kind == "session" { // which is of a key
		r := s.reduce
		groups := flow.Fold(s.by(func(any) any { return 0 }), func(any) any { return r.zero }, func(acc, x any) any { return r.add(acc, valueOf(x)) })
		return flow.Map(groups, func(g flow.Group[any, any]) any { return form(g.Value, g.Pane) })
	}
	return flow.OnTrigger(s.reduced(), func(acc any, p flow.Pane) ([]any, any) {
		next := s.reduce.zero
		if s.reduce.keep {
			next = acc
		}
		return []any{form(acc, p)}, next
	})
}

// form is how the case writes what a window has emitted.
func (s *script) form() func(acc any, p flow.Pane) any {
	var like []any
	if list, ok := s.c.expected(s.T, "result").([]any); ok && len(list) > 0 {
		like, _ = list[0].([]any)
	}
	if len(like) == 4 {
		return func(acc any, p flow.Pane) any { return []any{p.Partition, s.id(p), s.trigger(p), acc} }
	}
	if len(like) == 2 {
		if _, ok := like[0].(string); ok {
			return func(acc any, p flow.Pane) any { return []any{s.trigger(p), acc} }
		}
	}
	kind, _ := s.window()
	if kind == "" {
		kind = "global"
	}
	return func(acc any, p flow.Pane) any { return []any{acc, []any{kind, s.id(p), s.trigger(p)}} }
}

func (s *script) id(p flow.Pane) any {
	switch kind, _ := s.window(); kind {
	case "", "global":
		return "global"
	case "fixed", "sliding", "session":
		return int(p.Start.UnixMilli())
	default:
		return p.Number
	}
}

func (s *script) trigger(p flow.Pane) any {
	switch p.Trigger {
	case flow.Marked:
		return s.marker()
	case flow.Every:
		return []any{"every", s.every()}
	case flow.Period:
		return []any{"periodically", int(s.period() / time.Millisecond), "millisecond"}
	case flow.Done, flow.Watermark:
	}
	return p.Trigger.String()
}

// What nobody understands is refused, rather than taken for something else.
func TestUnknownStepsAreRefused(t *testing.T) {
	for _, text := range []string{"map x*", "reshuffle", "take many", "sum, and so on", "partition -1", "filter x ~ 2"} {
		var known bool
		synctest.Test(t, func(*testing.T) {
			for _, part := range separate(text) {
				known = slices.ContainsFunc(clauses, func(c clauseOf) bool { return c.pattern.MatchString(part) })
				if m := regexp.MustCompile(`^\w+ (x.*)$`).FindStringSubmatch(part); m != nil {
					_, err := expression(m[1])
					known = known && err == nil
				}
			}
		})
		if known {
			t.Errorf("%q is taken for a step", text)
		}
	}
}
