package slots

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/modeltest"
)

// model plays the pullers and runners of a demand, and holds it to its promises.
type model struct {
	demand
	t       rapid.TB
	left    map[*Source]int // of what was asked for
	running map[*Source]int
	given   map[*Source]int  // jobs delivered so far
	ahead   map[*Source]bool // asked for as a short type, and not done with that yet
	sent    int              // asks
	at      time.Time        // the present
	again   time.Time        // when to plan though nothing happens
}

func newModel(t rapid.TB, concurrency int, weights ...int) *model {
	w := &model{
		demand: demand{concurrency: concurrency}, t: t,
		left: make(map[*Source]int), running: make(map[*Source]int), given: make(map[*Source]int),
		ahead: make(map[*Source]bool),
	}
	for _, weight := range weights {
		w.opened(w.add(weight))
	}
	return w
}

// update sends what is asked for now.
func (w *model) update() {
	var asks []ask
	asks, w.again = w.plan(w.now)
	for _, g := range asks {
		w.sent++
		switch {
		case w.left[g.source] != 0 && !g.source.unsent:
			w.t.Fatalf("asked for %d more while %d of the last have not come", g.n, w.left[g.source])
		case !g.source.open:
			w.t.Fatalf("asked a source that is shut for %d", g.n)
		case w.stopped:
			w.t.Fatalf("asked for %d after the close", g.n)
		case g.n < 1 || g.n > MaxBatch:
			w.t.Fatalf("asked for %d", g.n)
		}
		w.left[g.source] += g.n
		g.source.unsent = true // until something is heard of it
		w.ahead[g.source] = w.ahead[g.source] || g.source.short()
	}
	w.check()
}

func (w *model) now() time.Time { return w.at }

func (w *model) asked() (n int) {
	for _, left := range w.left {
		n += left
	}
	return n
}

// check holds what is in hand and asked for to its bound, which says the same as "asked
// is at most free + min(sources-1, maxStanding)" where slots are free, and more where
// none is.
func (w *model) check() {
	bound := w.concurrency
	for _, s := range w.sources {
		// What was asked ahead may have turned long since; and beside a request of a type that is
		// short by now others stand, as if it had been asked ahead.
		w.ahead[s] = (w.ahead[s] || s.short()) && w.left[s]+w.running[s] > 0
		if w.ahead[s] {
			bound = (1 + aheadFactor) * w.concurrency
		}
	}
	bound += min(len(w.sources)-1, maxStanding)
	if got := w.inHand + w.asked(); got > bound {
		w.t.Fatalf("%d in hand and %d asked for, want at most %d (concurrency %d, %d sources)",
			w.inHand, w.asked(), bound, w.concurrency, len(w.sources))
	}
}

func (w *model) deliver(s *Source, n int, backlog uint64) {
	s.unsent = false
	w.left[s] -= n
	w.running[s] += n
	w.given[s] += n
	w.delivered(s, n, backlog)
	w.update()
}

// end closes a pull that brought less than it was asked for.
func (w *model) end(s *Source) {
	s.unsent = false
	if s.greedy {
		s.backlog = 0
	}
	w.returned(s, w.left[s])
	w.left[s] = 0
	w.update()
}

func (w *model) finish(s *Source, ran time.Duration) {
	w.running[s]--
	w.gone(s, ran)
	w.update()
}

// gone takes a job out of the hand that ran for this long, 0 if it did not.
func (w *model) gone(s *Source, ran time.Duration) {
	if ran == 0 {
		w.handedBack(s)
		return
	}
	w.finished(s, ran)
}

// with returns the sources of which ok holds, in order.
func (w *model) with(ok func(*Source) bool) (found []*Source) {
	for _, s := range w.sources {
		if ok(s) {
			found = append(found, s)
		}
	}
	return found
}

func (w *model) pulled() []*Source {
	return w.with(func(s *Source) bool { return w.left[s] > 0 })
}

func (w *model) busy() []*Source {
	return w.with(func(s *Source) bool { return w.running[s] > 0 })
}

func pick(t *rapid.T, of []*Source) *Source {
	if len(of) == 0 {
		t.Skip("none")
	}
	return of[rapid.IntRange(0, len(of)-1).Draw(t, "source")]
}

func TestDemandBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 6), 1, 24).Draw(t, "weights")
		w := newModel(t, rapid.IntRange(1, 20).Draw(t, "concurrency"), weights...)
		ran := rapid.SampledFrom([]time.Duration{0, time.Millisecond, 9 * time.Millisecond, time.Second})
		backlog := rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64Range(0, 3), rapid.Just(uint64(100_000)))
		w.update()
		steps := make(modeltest.Steps)
		steps.Add("deliver", 2, func(t *rapid.T) { // so that hands fill
			s := pick(t, w.pulled())
			w.deliver(s, rapid.IntRange(1, w.left[s]).Draw(t, "n"), backlog.Draw(t, "backlog"))
		})
		steps.Add("job ends", 2, func(t *rapid.T) { w.finish(pick(t, w.busy()), ran.Draw(t, "ran")) })
		steps.Add("pull ends", 1, func(t *rapid.T) { w.end(pick(t, w.pulled())) })
		steps.Add("one is given back", 1, func(t *rapid.T) {
			s := pick(t, w.pulled())
			w.left[s]--
			w.returned(s, 1)
			w.update()
		})
		steps.Add("shut", 1, func(t *rapid.T) {
			s := pick(t, w.sources)
			w.left[s] = 0
			w.closed(s)
			w.update()
		})
		steps.Add("open", 1, func(t *rapid.T) {
			w.opened(pick(t, w.with(func(s *Source) bool { return !s.open })))
			w.update()
		})
		steps.Add("close", 1, func(t *rapid.T) {
			if rapid.IntRange(0, 19).Draw(t, "really") > 0 {
				t.Skip("not yet")
			}
			w.stopped = true
			w.update()
		})
		steps.Check(func(t *rapid.T) { w.checkAccounts(t) })
		t.Repeat(steps)
	})
}

// checkAccounts holds the sums to what the model has seen itself.
func (w *model) checkAccounts(t *rapid.T) {
	total := 0
	for _, n := range w.running {
		total += n
	}
	if w.inHand != total {
		t.Fatalf("inHand = %d, want %d", w.inHand, total)
	}
	if got, want := w.quiet(), w.stopped && total == 0 && w.asked() == 0; got != want {
		t.Fatalf("quiet() = %t, want %t", got, want)
	}
	open := w.with(func(s *Source) bool { return s.open })
	if !w.stopped && w.freeSlots() > 0 && w.asked() == 0 && len(open) > 0 {
		t.Fatalf("%d slots are free and nothing is asked for", w.freeSlots())
	}
}

// With work in abundance, each source is served in proportion to its weight, and none is
// forgotten, whatever the order in which jobs end.
func TestDemandServesByWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 10), 2, 6).Draw(t, "weights")
		w := newModel(t, rapid.IntRange(1, 16).Draw(t, "concurrency"), weights...)
		ends := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 64, 64).Draw(t, "ends") // who ends next, over and over
		sum := 0
		for _, weight := range weights {
			sum += weight
		}
		w.update()
		total := 0
		for i := 0; total < 20*sum; i++ {
			for _, s := range w.pulled() {
				total += w.left[s]
				w.deliver(s, w.left[s], 1<<40)
			}
			busy := w.busy()
			w.finish(busy[ends[i%len(ends)]%len(busy)], time.Second)
		}
		slack := float64(2*w.concurrency + 2*len(weights) + maxStanding) // the first requests, and what is in flight
		for i, s := range w.sources {
			want := float64(total) * float64(weights[i]) / float64(sum)
			if got := float64(w.given[s]); math.Abs(got-want) > slack {
				t.Fatalf("source %d of weights %v got %v of %d jobs, want %.0f±%.0f", i, weights, got, total, want, slack)
			}
		}
	})
}

// Who had nothing to do for long is not owed the time.
func TestDemandForgetsIdleTime(t *testing.T) {
	w := newModel(t, 1, 1, 1)
	busy, idle := w.sources[0], w.sources[1]
	w.update()
	w.deliver(busy, 1, 1<<40)
	for range 500 {
		w.finish(busy, time.Second)
		w.deliver(busy, 1, 1<<40)
	}
	w.deliver(idle, 1, 1<<40) // its request stood all the time
	before := w.given[idle]
	for range 100 {
		for _, s := range w.busy() {
			w.finish(s, time.Second)
		}
		for _, s := range w.pulled() {
			w.deliver(s, 1, 1<<40)
		}
	}
	if got := w.given[idle] - before; got < 45 || got > 55 {
		t.Errorf("the source that woke got %d of 100 jobs, want half", got)
	}
}

// With more types than may stand at once, each gets its turn.
func TestDemandRotatesStandingRequests(t *testing.T) {
	for _, tt := range []struct{ sources, concurrency, most int }{
		{1, 4, 4}, {2, 4, 5}, {9, 1, 9}, {10, 1, 9}, {40, 1, 9}, {40, 16, 24}, {500, 2, 10},
	} {
		w := newModel(t, tt.concurrency, make([]int, tt.sources)...)
		w.update()
		if got, want := w.asked(), min(tt.most, max(tt.sources, tt.concurrency)); tt.sources > 1 && got != min(want, tt.sources) {
			t.Errorf("%d sources, %d slots: %d asked for, want %d", tt.sources, tt.concurrency, got, min(want, tt.sources))
		}
		stood := make(map[*Source]bool)
		for range (tt.sources+tt.most-1)/tt.most + 1 {
			for _, s := range w.pulled() {
				stood[s] = true
				w.end(s)
			}
		}
		if len(stood) != tt.sources {
			t.Errorf("%d sources, %d slots: only %d were heard", tt.sources, tt.concurrency, len(stood))
		}
	}
}

// A single type has all free slots to itself, so that a burst needs one request.
func TestDemandOfOneTypeCoversAllSlots(t *testing.T) {
	w := newModel(t, 7, 1)
	w.update()
	if got := w.asked(); got != 7 {
		t.Errorf("asked for %d, want 7", got)
	}
	big := newModel(t, 5000, 1)
	big.update()
	if got := big.asked(); got != MaxBatch {
		t.Errorf("asked for %d, want %d", got, MaxBatch)
	}
}

func TestDemandAsksAheadForShortJobsOnly(t *testing.T) {
	tests := []struct {
		name    string
		runs    int
		ran     time.Duration
		backlog uint64
		want    int
	}{
		{"long jobs", 20, time.Second, 1000, 4},
		{"barely too long", 20, 10 * time.Millisecond, 1000, 4},
		{"short jobs", 20, 9 * time.Millisecond, 1000, 16},
		{"short jobs, few waiting", 20, time.Millisecond, 5, 5},
		{"not enough known", runSamples - 1, time.Millisecond, 1000, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newModel(t, 4, 1)
			s := w.sources[0]
			for range tt.runs {
				w.update()
				w.deliver(s, 1, 0)
				w.finish(s, tt.ran)
			}
			w.end(s)
			w.left[s] = 0
			w.returned(s, s.asked)
			s.backlog = tt.backlog
			w.update()
			if got := w.inHand + w.asked(); got != tt.want {
				t.Errorf("%d in hand or asked for, want %d", got, tt.want)
			}
		})
	}
}

// One run of a minute is enough to end asking ahead.
func TestDemandStopsAskingAheadOnceJobsAreLong(t *testing.T) {
	s := &Source{}
	d := demand{concurrency: 1, inHand: 100}
	for range 100 {
		d.finished(s, time.Millisecond)
	}
	if !s.short() {
		t.Fatal("a hundred runs of 1 ms are not short")
	}
	d.finished(s, time.Minute)
	if s.short() {
		t.Error("still short after a run of a minute")
	}
	d.handedBack(s) // tells nothing about runs
	if s.runs != runSamples {
		t.Errorf("runs = %d", s.runs)
	}
}

func TestDemandAfterClose(t *testing.T) {
	w := newModel(t, 2, 1, 1)
	w.update()
	a, asks := w.sources[0], w.sent
	if asks == 0 {
		t.Fatal("nothing asked for")
	}
	w.stopped = true
	w.deliver(a, 1, 100)
	w.end(w.sources[1])
	if w.quiet() {
		t.Error("quiet with a job in hand")
	}
	w.finish(a, time.Second)
	if w.sent != asks {
		t.Errorf("%d asks after the close", w.sent-asks)
	}
	if !w.quiet() {
		t.Error("not quiet with nothing in hand and nothing asked for")
	}
}
