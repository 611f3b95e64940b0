package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

type click struct {
	Page string
	At   int // seconds
}

func (c click) time() time.Time { return time.Unix(int64(c.At), 0) }

// tallied is what a sink has of windows: by key and start the one with the greatest revision.
type tallied struct {
	mu      sync.Mutex
	windows map[string]pipeline.Window[string, int]
	calls   []string
}

func (s *tallied) handle(_ context.Context, w *pipeline.Window[string, int]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf("%s=%d", w.ID(), w.Value))
	key := fmt.Sprint(w.Key, w.Start.Unix())
	if s.windows == nil {
		s.windows = map[string]pipeline.Window[string, int]{}
	}
	if w.Revision >= s.windows[key].Revision {
		s.windows[key] = *w
	}
	return nil
}

func (s *tallied) sum() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.windows {
		n += w.Value
	}
	return n
}

func minutes(handle func(context.Context, *pipeline.Window[string, int]) error) pipeline.FoldConfig[string, click, int] {
	return pipeline.FoldConfig[string, click, int]{
		Name: "minutes", Key: func(c click) string { return c.Page }, At: click.time, Size: time.Minute, Delay: 5 * time.Second, Late: 5 * time.Minute,
		Zero: func(string) int { return 0 }, Fold: func(n int, _ click) int { return n + 1 }, Handle: handle,
	}
}

func foldAll(t *testing.T, source pipeline.Source[click], f *pipeline.Fold[string, click, int], change ...func(*pipeline.Config[click])) *pipeline.Pipeline[click] {
	t.Helper()
	c := pipeline.Config[click]{
		Source: source, Batchers: []pipeline.AnyBatcher{f},
		Process: func(_ context.Context, m *pipeline.Message[click]) error { f.Add(m, m.Value); return nil },
	}
	for _, ch := range change {
		ch(&c)
	}
	return must(pipeline.New(c))
}

func TestFold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sink tallied
		var late []click
		c := minutes(sink.handle)
		c.OnLate = func(c click) { late = append(late, c) }
		clicks := make(chan click)
		p := foldAll(t, pipeline.FromChan(clicks), pipeline.NewFold(c))
		done := make(chan error, 1)
		go func() { done <- p.Run(t.Context()) }()
		for _, at := range []int{3, 10, 70, 65, 59, 66, 130, 58, 100, 1000, 20, 1001} {
			clicks <- click{"a", at}
			time.Sleep(3 * time.Second)
		}
		close(clicks)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want := []string{
			"minutes/a/1970-01-01T00:00:00Z/1=2", // closed by 65, of which the watermark is 60
			"minutes/a/1970-01-01T00:00:00Z/2=3", // 59
			"minutes/a/1970-01-01T00:01:00Z/1=3", // closed by 130
			"minutes/a/1970-01-01T00:00:00Z/3=4", // 58
			"minutes/a/1970-01-01T00:01:00Z/2=4", // 100
			"minutes/a/1970-01-01T00:02:00Z/1=1", // closed by 1000
			"minutes/a/1970-01-01T00:16:00Z/1=2", // by the end
		}
		if !slices.Equal(sink.calls, want) {
			t.Errorf("calls\n%q, want\n%q", sink.calls, want)
		}
		if len(late) != 1 || late[0].At != 20 {
			t.Errorf("late: %v", late)
		}
	})
}

// A value without a time fails its message, and no other comes late for it.
func TestFoldOfValuesWithoutATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := map[string]time.Time{"unset": {}, "far": time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), "early": time.Date(1677, 1, 1, 0, 0, 0, 0, time.UTC)}
		var sink tallied
		c := minutes(sink.handle)
		c.At = func(k click) time.Time {
			if odd, is := at[k.Page]; is {
				return odd
			}
			return k.time()
		}
		var failed []string
		p := foldAll(t, pipeline.FromSeq(slices.Values([]click{{"a", 1}, {"unset", 2}, {"far", 3}, {"early", 4}, {"a", 5}, {"b", 6}})), pipeline.NewFold(c),
			func(c *pipeline.Config[click]) {
				c.Failed = func(_ context.Context, ms []*pipeline.Message[click]) {
					sink.mu.Lock()
					defer sink.mu.Unlock()
					for _, m := range ms {
						failed = append(failed, m.Value.Page+": "+m.Err().Error())
					}
				}
			})
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		slices.Sort(failed)
		if len(failed) != 3 || !strings.HasPrefix(failed[2], "unset: its time") {
			t.Errorf("failed: %q", failed)
		}
		if sink.sum() != 3 {
			t.Errorf("%d are counted, want 3: %q", sink.sum(), sink.calls)
		}
	})
}

// A window that is not handled is kept and tried again, and stops no other.
func TestFoldHandleFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sink tallied
		fails := 5
		c := minutes(func(ctx context.Context, w *pipeline.Window[string, int]) error {
			if w.Key == "bad" && fails > 0 {
				if fails--; fails == 2 {
					panic("no")
				}
				return errors.New("down")
			}
			return sink.handle(ctx, w)
		})
		p := foldAll(t, pipeline.FromSeq(slices.Values([]click{{"bad", 1}, {"good", 2}, {"good", 3}})), pipeline.NewFold(c))
		begin := time.Now()
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); sink.sum() != 3 || took < 30*time.Second || took > time.Minute {
			t.Errorf("%d counted in %v", sink.sum(), took)
		}
	})
}

// Whatever order Process ends in, values are folded in the order of their source.
func TestFoldKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		f := pipeline.NewFold(pipeline.FoldConfig[string, int, []int]{
			Key: func(int) string { return "" }, At: func(int) time.Time { return time.Unix(0, 0) }, Size: time.Hour,
			Zero: func(string) []int { return nil }, Fold: func(all []int, v int) []int { return append(all, v) },
			Handle: func(_ context.Context, w *pipeline.Window[string, []int]) error { got = w.Value; return nil },
		})
		var want []int
		for i := range 200 {
			if (i+1)%10 != 3 {
				want = append(want, i+1)
			}
		}
		p := must(pipeline.New(pipeline.Config[int]{
			Source: numbers(200), Batchers: []pipeline.AnyBatcher{f}, Concurrency: 16,
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				time.Sleep(time.Duration(m.Value*7919%13) * time.Millisecond)
				if m.Value%10 == 3 {
					return errors.New("no")
				}
				f.Add(m, m.Value)
				return nil
			},
		}))
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("folded %v", got)
		}
	})
}

// held is a source whose messages come again unless they are settled.
type held struct {
	clicks []click
	ends   []pipeline.End
	mu     sync.Mutex
	next   int
	eof    bool
}

func (s *held) Pull(ctx context.Context, n int, out []pipeline.Delivery[click]) ([]pipeline.Delivery[click], error) {
	s.mu.Lock()
	for ; n > 0 && s.next < len(s.clicks); n-- {
		out = append(out, pipeline.Delivery[click]{Value: s.clicks[s.next], Acker: s, Ref: s.next})
		s.next++
	}
	s.mu.Unlock()
	if len(out) == 0 && s.eof {
		return out, io.EOF
	}
	if len(out) == 0 {
		<-ctx.Done()
		return out, context.Cause(ctx)
	}
	return out, nil
}

func (s *held) Settle(_ context.Context, ends []pipeline.End) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, ends...)
	return nil
}

// Messages that come again stay in hand until their windows take nothing more and are handled; at a drain
// they are handed back, at the end of the source handled.
func TestFoldHoldsMessages(t *testing.T) {
	for _, eof := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var sink tallied
			c := minutes(sink.handle)
			c.Late = 0
			s := &held{eof: eof}
			for i := range 10 {
				s.clicks = append(s.clicks, click{"a", i * 20})
			}
			p := foldAll(t, s, pipeline.NewFold(c), func(c *pipeline.Config[click]) { c.InFlight = 100 })
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := p.Run(ctx); err != nil {
				t.Fatal(err)
			}
			handled, back := 0, 0
			for _, e := range s.ends {
				if e.Err == nil {
					handled++
				} else if errors.Is(e.Err, pipeline.ErrHandedBack) {
					back++
				}
			}
			if want := map[bool]int{false: 6, true: 10}[eof]; handled != want || back != 10-want || sink.sum() != want {
				t.Errorf("end of source %t: %d handled, %d handed back, %d counted", eof, handled, back, sink.sum())
			}
		})
	}
}
