package flow_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/flow"
)

// origin is what is known of a source.
type origin struct {
	greatest     int // event time; noEvent: there was none
	heard        int // when, in milliseconds of the run
	silent, over bool
	c            chan tick
}

const noEvent = math.MinInt

// sources is the specification of the watermark of several: one step after the other.
type sources struct {
	idle, delay int
	all         []*origin
	now         int
	low         int
	ledger
}

// move finds the watermark: it is that of the source that is furthest behind, of those that hold it.
func (s *sources) move() {
	least, greatest, holding, silent := math.MaxInt, noEvent, 0, 0
	for _, o := range s.all {
		greatest = max(greatest, o.greatest)
		switch {
		case o.over:
		case o.silent:
			silent++
		default:
			holding++
			least = min(least, o.greatest)
		}
	}
	switch {
	case holding > 0 && least > noEvent:
		s.low = max(s.low, least-s.delay)
	case holding == 0 && silent > 0:
		s.low = max(s.low, greatest)
	}
}

// pass lets time go by, from the end of one source's patience to the next.
func (s *sources) pass(d int) {
	until := s.now + d
	for {
		due, next := until+1, (*origin)(nil)
		for _, o := range s.all {
			if at := o.heard + s.idle; s.idle > 0 && !o.silent && !o.over && at < due {
				due, next = at, o
			}
		}
		if next == nil {
			break
		}
		s.now, next.silent = due, true
		s.move()
	}
	s.now = until
}

func (s *sources) hear(o *origin, e tick) {
	o.silent, o.heard, o.greatest = false, s.now, max(o.greatest, e.Ms)
	s.move()
}

// open is a window of a key that has not come yet.
type open struct{ key, start int }

// ledger has the windows that have not come, and what was late for its own.
type ledger struct {
	size    int
	events  map[open][]int
	dropped []int
}

func (l *ledger) add(e tick, low int) {
	start := e.Ms - ((e.Ms%l.size)+l.size)%l.size
	if start+l.size <= low {
		l.dropped = append(l.dropped, e.N)
		return
	}
	id := open{e.Key, start}
	l.events[id] = append(l.events[id], e.N)
}

func (l *ledger) close(low int) (lines []string) {
	for id, events := range l.events {
		if id.start+l.size <= low {
			lines = append(lines, fmt.Sprint(id.key, id.start, events))
			delete(l.events, id)
		}
	}
	slices.Sort(lines)
	return lines
}

// log is what came out since somebody looked.
type log struct {
	mu      sync.Mutex
	lines   []string
	dropped []int
}

func (l *log) group(g flow.Group[int, []int]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprint(g.Key, g.Pane.Start.UnixMilli(), g.Value))
}

func (l *log) late(e tick) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped = append(l.dropped, e.N)
}

func (l *log) take() (lines []string, dropped []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, dropped = l.lines, l.dropped
	l.lines, l.dropped = nil, nil
	slices.Sort(lines)
	return lines, dropped
}

// turn is a step of a run of several sources.
type turn struct {
	source int
	do     string // send, wait, close
	wait   int
	event  tick
}

func drawTurns(t *rapid.T, n int) []turn {
	turns := make([]turn, rapid.IntRange(0, 40).Draw(t, "steps"))
	clock := 0
	for i := range turns {
		clock += rapid.IntRange(0, 6).Draw(t, "pace")
		turns[i] = turn{
			source: rapid.IntRange(0, n-1).Draw(t, "source"),
			do:     rapid.SampledFrom([]string{"send", "send", "send", "send", "wait", "close"}).Draw(t, "do"),
			wait:   rapid.IntRange(1, 150).Draw(t, "wait"),
			event:  tick{Key: rapid.IntRange(0, 3).Draw(t, "key"), Ms: clock - rapid.IntRange(0, 12).Draw(t, "behind"), N: i},
		}
	}
	return turns
}

// Windows close as the source that is furthest behind goes on, of those that have not ended and are not silent:
// whatever the sources do, one step after the other.
func TestWatermarkOfSourcesIsTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := &sources{
			idle: rapid.SampledFrom([]int{0, 60, 100}).Draw(rt, "idle"), delay: rapid.SampledFrom([]int{0, 5}).Draw(rt, "delay"), low: noEvent,
			ledger: ledger{size: rapid.IntRange(1, 10).Draw(rt, "size"), events: map[open][]int{}},
		}
		for range rapid.IntRange(1, 3).Draw(rt, "sources") {
			s.all = append(s.all, &origin{greatest: noEvent})
		}
		partitions := rapid.IntRange(1, 3).Draw(rt, "partitions")
		turns := drawTurns(rt, len(s.all))
		var problem string
		synctest.Test(t, func(t *testing.T) { problem = s.play(t, partitions, turns) })
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// play has a flow and the model go through the same, and returns where they differ.
func (s *sources) play(t *testing.T, partitions int, turns []turn) (problem string) {
	t.Helper()
	var streams []flow.Stream[tick]
	for _, o := range s.all {
		o.c = make(chan tick)
		streams = append(streams, flow.FromChan(o.c))
	}
	var got log
	span := func(n int) time.Duration { return time.Duration(n) * ms }
	w := flow.Fixed(span(s.size), tick.time).Delay(span(s.delay)).IdleAfter(span(s.idle)).OnLate(got.late)
	done := make(chan error, 1)
	go func() {
		done <- numbers(flow.By(flow.Merge(streams...), tick.key).Partitions(partitions).Within(w)).Each(got.group).Run(t.Context())
	}()
	compare := func(step string) {
		synctest.Wait()
		want := s.close(s.low)
		if !slices.ContainsFunc(s.all, func(o *origin) bool { return !o.over }) {
			want = append(want, s.close(math.MaxInt)...)
			slices.Sort(want)
		}
		lines, late := got.take()
		if problem == "" && (!slices.Equal(lines, want) || !slices.Equal(late, s.dropped)) {
			problem = fmt.Sprintf("%s, watermark %d: got %v and %v late, want %v and %v", step, s.low, lines, late, want, s.dropped)
		}
		s.dropped = nil
	}
	synctest.Wait()
	for i, turn := range turns {
		o := s.all[turn.source]
		switch {
		case o.over || turn.do == "wait":
			time.Sleep(span(turn.wait))
			s.pass(turn.wait)
		case turn.do == "close":
			s.end(o)
		default:
			s.add(turn.event, s.low)
			o.c <- turn.event
			s.hear(o, turn.event)
		}
		compare(fmt.Sprintf("step %d", i))
	}
	for _, o := range s.all {
		if !o.over {
			s.end(o)
		}
	}
	err := <-done
	if compare("the end"); err != nil {
		return err.Error()
	}
	return problem
}

func (s *sources) end(o *origin) {
	close(o.c)
	o.over = true
	s.move()
}

// Windows of processing time have what came in each of their periods, and EveryPeriod has what there was.
func TestPeriodsAreTheModel(t *testing.T) {
	const period, trigger = 20, 14 // no event comes at a multiple of these
	rapid.Check(t, func(rt *rapid.T) {
		partitions := rapid.IntRange(1, 3).Draw(rt, "partitions")
		var events []tick // Ms is when they come
		at := 1
		for i := range rapid.IntRange(0, 30).Draw(rt, "events") {
			at += 2 * rapid.IntRange(0, 20).Draw(rt, "pause")
			events = append(events, tick{Key: rapid.IntRange(0, 3).Draw(rt, "key"), Ms: at, N: i})
		}
		end := at + 2
		run := func(t *testing.T, w flow.Window[tick]) []string {
			t.Helper()
			c := make(chan tick)
			go func() {
				defer close(c)
				begin := time.Now()
				for _, e := range events {
					time.Sleep(time.Until(begin.Add(time.Duration(e.Ms) * ms)))
					c <- e
				}
				time.Sleep(2 * ms)
			}()
			var lines []string
			for g, err := range numbers(flow.By(flow.FromChan(c), tick.key).Partitions(partitions).Within(w)).All(t.Context()) {
				if err != nil {
					t.Error(err)
				}
				lines = append(lines, fmt.Sprint(g.Key, " ", g.Pane.Trigger, " ", g.Pane.Number, g.Value))
			}
			slices.Sort(lines)
			return lines
		}
		until := func(key, from, to int) (list []int) {
			for _, e := range events {
				if e.Key == key && from <= e.Ms && e.Ms < to {
					list = append(list, e.N)
				}
			}
			return list
		}
		var periodic, triggered []string
		add := func(lines *[]string, key int, trigger flow.Trigger, number int, list []int) {
			if len(list) > 0 {
				*lines = append(*lines, fmt.Sprint(key, " ", trigger, " ", number, list))
			}
		}
		for key := range 4 {
			for number := 0; number*period < end; number++ {
				add(&periodic, key, flow.Done, number, until(key, number*period, (number+1)*period))
			}
			for n := 1; n*trigger < end; n++ {
				add(&triggered, key, flow.Period, 0, until(key, 0, n*trigger))
			}
			add(&triggered, key, flow.Done, 0, until(key, 0, end))
		}
		var gotPeriodic, gotTriggered []string
		synctest.Test(t, func(t *testing.T) {
			gotPeriodic = run(t, flow.Periodic[tick](period*ms))
			gotTriggered = run(t, flow.Global[tick]().EveryPeriod(trigger*ms))
		})
		sameLines(rt, "Periodic", gotPeriodic, periodic)
		sameLines(rt, "EveryPeriod", gotTriggered, triggered)
	})
}
