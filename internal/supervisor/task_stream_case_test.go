package supervisor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// items is 1, 2, … n.
func items(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i + 1) {
				return
			}
		}
	}
}

// after1 returns its item after a while.
func after1(d time.Duration) func(context.Context, int) (int, error) {
	return func(ctx context.Context, item int) (int, error) { return item, sleep(ctx, d) }
}

// takeItem takes as many milliseconds as its item says.
func takeItem(ctx context.Context, item int) (int, error) {
	return item, sleep(ctx, milliseconds(item))
}

// collect returns the results of a stream as the cases write them: ["ok",v], ["exit","timeout"].
func collect(
	t *testing.T, d *Dynamic, in iter.Seq[int], f func(context.Context, int) (int, error), opts StreamOptions,
) (results []caseEvent, err error) {
	t.Helper()
	for r, err := range Stream(t.Context(), d, in, f, opts) {
		switch {
		case err != nil:
			return results, err
		case errors.Is(r.Err, ErrTimeout):
			results = append(results, event("exit", "timeout"))
		case r.Err != nil:
			results = append(results, event("exit", r.Err.Error()))
		default:
			results = append(results, event("ok", r.Value))
		}
	}
	return results, nil
}

// streamSetup is a stream as the cases describe it.
type streamSetup struct {
	MaxConcurrency int `json:"max_concurrency"`
	TimeoutMS      int `json:"timeout_ms"`
	ItemMS         int `json:"item_ms"`
	Items          any
	DurationsMS    any `json:"durations_ms"`
	Ordered        *bool
}

func (s streamSetup) options() StreamOptions {
	return StreamOptions{
		MaxConcurrency: s.MaxConcurrency, ItemTimeout: milliseconds(s.TimeoutMS), Unordered: s.Ordered != nil && !*s.Ordered,
	}
}

// playConcurrency runs items that all take the same time, counts how many run at once, and
// measures.
func playConcurrency(t *testing.T, c testCase) {
	s := decode[streamSetup](t, c.Setup)
	expect := decode[struct {
		Results []caseEvent
		Max     int `json:"max_concurrent"`
	}](t, c.Expect)
	d, _ := startDynamic(t, DynamicSpec{})
	var running, most atomic.Int64
	begin, n := time.Now(), int(s.Items.(float64))
	got, err := collect(t, d, items(n), func(ctx context.Context, item int) (int, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		return after1(milliseconds(s.ItemMS))(ctx, item)
	}, s.options())
	if diff := cmp.Diff(expect.Results, got); diff != "" || err != nil {
		t.Errorf("results (-want +got):\n%s\n%v", diff, err)
	}
	if got := int(most.Load()); got != s.MaxConcurrency || expect.Max > 0 && got != expect.Max {
		t.Errorf("at once = %d, want %d", got, s.MaxConcurrency)
	}
	waves := (n + s.MaxConcurrency - 1) / s.MaxConcurrency
	if got := time.Since(begin); got != milliseconds(waves*s.ItemMS) {
		t.Errorf("total = %v, want %d waves of %d ms", got, waves, s.ItemMS)
	}
}

// playDurations runs items of several durations, in each order that the case has results for.
func playDurations(t *testing.T, c testCase) {
	s := decode[streamSetup](t, c.Setup)
	var durations []int
	for _, n := range s.DurationsMS.([]any) {
		durations = append(durations, int(n.(float64)))
	}
	expect := decode[struct {
		Results, Ordered, Unordered []caseEvent
		Caller                      string
	}](t, c.Expect)
	play := func(opts StreamOptions, want []caseEvent) {
		d, _ := startDynamic(t, DynamicSpec{})
		got, err := collect(t, d, slices.Values(durations), takeItem, opts)
		if expect.Caller == "exit timeout" {
			if !errors.Is(err, ErrTimeout) {
				t.Errorf("stream ended with %v, want %v", err, ErrTimeout)
			}
			if n := childrenOf(d); n != 0 {
				t.Errorf("items left running = %d, want 0", n)
			}
			return
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%+v: results (-want +got):\n%s\n%v", opts, diff, err)
		}
	}
	opts := s.options()
	if expect.Ordered == nil {
		play(opts, expect.Results)
		return
	}
	opts.OnTimeout = ReportItem
	play(opts, expect.Ordered)
	opts.Unordered = true
	play(opts, expect.Unordered)
}

// playSlowHead: other items go on behind a slow one, as far as the window reaches.
func playSlowHead(t *testing.T, c testCase) {
	s := decode[streamSetup](t, c.Setup)
	expect := decode[struct {
		Ordered   int64 `json:"ordered_started"`
		Unordered int64 `json:"unordered_started"`
	}](t, c.Expect)
	play := func(opts StreamOptions, n int, want int64) {
		d, _ := startDynamic(t, DynamicSpec{})
		var started, before atomic.Int64
		_, err := collect(t, d, items(n), func(ctx context.Context, item int) (int, error) {
			started.Add(1)
			if item != 1 {
				return item, sleep(ctx, 10*ms)
			}
			err := sleep(ctx, 400*ms)
			before.Store(started.Load())
			return item, err
		}, opts)
		if got := before.Load(); got != want || err != nil {
			t.Errorf("%+v: started before the slow item ended = %d, %v, want %d", opts, got, err, want)
		}
	}
	opts, n := s.options(), int(s.Items.(float64))
	play(opts, n, expect.Ordered)
	play(opts, 10*n, int64(4*opts.MaxConcurrency))
	opts.Window = 5
	play(opts, n, 5)
	opts.Unordered = true
	play(opts, n, expect.Unordered)
}

// playIsolated: an item that fails stands in its place, and in a linked stream it is the end.
func playIsolated(t *testing.T, c testCase) {
	expect := decode[struct{ First, Last []string }](t, c.Expect)
	emails := []string{"hello@world.com", "hola@world.com", "nihao@world.com"}
	bad := "konnichiwa@world.com"
	sendMail := func(ctx context.Context, email string) (string, error) {
		if email == bad {
			panic(fmt.Sprintf("Oops, couldn't send email to %s!", email))
		}
		return "Email sent", sleep(ctx, 10*ms)
	}
	d, r := startDynamic(t, DynamicSpec{})
	for _, test := range []struct {
		emails []string
		want   []string
	}{{append(slices.Clone(emails), bad), expect.Last}, {append([]string{bad}, emails...), expect.First}} {
		i := 0
		for r, err := range Stream(t.Context(), d, slices.Values(test.emails), sendMail, StreamOptions{MaxConcurrency: 2}) {
			got := "ok"
			if r.Err != nil {
				got = "exit " + strings.TrimPrefix(r.Err.Error(), "panic: ")
			}
			if err != nil || r.Index != i || r.Input != test.emails[i] || !strings.HasPrefix(got, test.want[i]) {
				t.Errorf("result %d = %s of %s, %v, want %s of %s", r.Index, got, r.Input, err, test.want[i], test.emails[i])
			}
			i++
		}
		if i != len(test.want) {
			t.Errorf("results = %d, want %d", i, len(test.want))
		}
	}
	var end error
	for _, err := range Stream(t.Context(), d, slices.Values(append(emails, bad)), sendMail, StreamOptions{Linked: true}) {
		end = err
	}
	if _, ok := errors.AsType[*PanicError](end); !ok {
		t.Errorf("linked stream ended with %v, want the panic", end)
	}
	r.expectAlive()
}

func playHalt(t *testing.T, c testCase) {
	s := decode[streamSetup](t, c.Setup)
	expect := decode[struct {
		Taken []caseEvent
		Most  int64 `json:"started_at_most"`
	}](t, c.Expect)
	d, _ := startDynamic(t, DynamicSpec{})
	var started, finished atomic.Int64
	stream := Stream(t.Context(), d, items(int(s.Items.(float64))), func(ctx context.Context, item int) (int, error) {
		started.Add(1)
		err := sleep(ctx, milliseconds(s.ItemMS))
		if err == nil {
			finished.Add(1)
		}
		return item, err
	}, s.options())
	time.Sleep(time.Second)
	synctest.Wait()
	if got := started.Load(); got != 0 {
		t.Errorf("started before enumeration = %d, want 0", got)
	}
	var taken []caseEvent
	for r := range stream {
		taken = append(taken, event("ok", r.Value))
		if len(taken) == len(expect.Taken) {
			break
		}
	}
	if diff := cmp.Diff(expect.Taken, taken); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	if got := started.Load(); got > expect.Most {
		t.Errorf("started = %d, want at most %d", got, expect.Most)
	}
	if n := childrenOf(d); n != 0 || finished.Load() != 2 {
		t.Errorf("left running = %d, finished = %d, want 0, 2", n, finished.Load())
	}
}

func playEmpty(t *testing.T, _ testCase) {
	d, _ := startDynamic(t, DynamicSpec{})
	if got, err := collect(t, d, items(0), takeItem, StreamOptions{}); len(got) != 0 || err != nil {
		t.Errorf("results = %v, %v, want none", got, err)
	}
}
