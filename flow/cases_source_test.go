package flow_test

import (
	"context"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/millhand/millhand/flow"
)

// sources are those of the setup. What they hand out is counted.
func (s *script) sources() []flow.Stream[any] {
	var all []flow.Stream[any]
	if list, ok := s.c.Setup["sources"].([]any); ok {
		for _, source := range list {
			text, _ := source.(string)
			events, _ := source.([]any)
			all = append(all, s.source(text, events))
		}
		return all
	}
	switch source := s.c.Setup["source"].(type) {
	case string:
		if source == "two sources, one lags" {
			return s.lagging()
		}
		return append(all, s.source(source, nil))
	case []any:
		return append(all, s.source("", source))
	}
	return all
}

var (
	silence   = regexp.MustCompile(`^(\S+) then silence$`)
	inWindows = regexp.MustCompile(`^(\S+), x<=(\d+) in window (\d+), rest in window (\d+)$`)
	wordTimes = regexp.MustCompile(`^7 \(word,time\) events over 2 windows(, first event moved to the end)?$`)
)

// source is one of the texts that describe a source, or a list.
func (s *script) source(text string, list []any) flow.Stream[any] {
	if numbers, ok := numbersOf(text); ok {
		return s.counted(flow.From(numbers))
	}
	if m := silence.FindStringSubmatch(text); m != nil {
		numbers, _ := numbersOf(m[1])
		return s.counted(flow.Merge(flow.From(numbers), flow.FromFunc(func(ctx context.Context, _ int, out []any) ([]any, error) {
			<-ctx.Done()
			return out, context.Cause(ctx)
		})))
	}
	if m := inWindows.FindStringSubmatch(text); m != nil {
		numbers, _ := numbersOf(m[1])
		return flow.Map(s.counted(flow.From(numbers)), func(x any) any {
			if x.(int) <= s.int(m[2]) {
				return timed{x, time.UnixMilli(int64(s.int(m[3])))}
			}
			return timed{x, time.UnixMilli(int64(s.int(m[4])))}
		})
	}
	if m := wordTimes.FindStringSubmatch(text); m != nil {
		events := sevenWords()
		if m[1] != "" {
			events = append(events[1:], events[0])
		}
		return s.counted(flow.From(slices.Values(events)))
	}
	switch {
	case text == "infinite":
		numbers, _ := numbersOf("0..1000000000")
		return s.counted(flow.From(numbers))
	case text != "":
		s.Fatalf("nobody knows the source %q", text)
	}
	events := flow.From(slices.Values(list))
	if window, _ := s.window(); !slices.Contains([]string{"fixed", "sliding", "session"}, window) {
		return s.counted(events)
	}
	return flow.Map(s.counted(events), func(x any) any {
		pair := x.([]any)
		return timed{pair[0], time.UnixMilli(int64(pair[1].(int)))}
	})
}

func (s *script) counted(events flow.Stream[any]) flow.Stream[any] {
	if s.c.Setup["max_demand"] != nil {
		events = events.Demand(s.demand())
	}
	return events.Each(func(any) { s.reads.Add(1) })
}

// sevenWords are events like those that the cases of fixed windows were recorded with, whose times they
// leave open: four in the first hour, three in the second. These are in its first five minutes, where an
// hour that may be five minutes late is late in event time as it was in Flow's processing time.
func sevenWords() []any {
	var events []any
	for _, e := range []struct {
		word string
		at   time.Duration
	}{
		{"elixir", 0},
		{"elixir", time.Second},
		{"erlang", time.Minute},
		{"concurrency", 50 * time.Minute},
		{"elixir", time.Hour},
		{"erlang", time.Hour + time.Minute},
		{"erlang", time.Hour + 4*time.Minute},
	} {
		events = append(events, timed{e.word, time.UnixMilli(e.at.Milliseconds())})
	}
	return events
}

// lagging are two sources of the events that are expected: those of b come when a has long ended.
func (s *script) lagging() []flow.Stream[any] {
	var a, b []any
	for _, e := range s.c.expected(s.T, "all").([]any) {
		event := timed{e, time.UnixMilli(int64(e.([]any)[1].(int)))}
		if e.([]any)[0] == "b" {
			b = append(b, event)
		} else {
			a = append(a, event)
		}
	}
	late := flow.FromFunc(func(_ context.Context, _ int, out []any) ([]any, error) {
		<-time.NewTimer(time.Second).C // virtual time: each case has a bubble
		return append(out, b...), io.EOF
	})
	return []flow.Stream[any]{s.counted(flow.From(slices.Values(a))), s.counted(late)}
}
