package slots

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func newStrictModel(t rapid.TB, concurrency int, weights ...int) *model {
	w := newModel(t, concurrency)
	w.order = Strict
	for _, weight := range weights {
		w.opened(w.add(weight))
	}
	return w
}

// updateStrictly sends what is asked for now, and holds it to the order.
func (w *model) updateStrictly() {
	before := maps.Clone(w.left)
	w.update()
	for _, low := range w.sources {
		if w.left[low] <= before[low] {
			continue
		}
		for _, high := range w.sources {
			if high.weight > low.weight && high.open && int(high.backlog) > w.left[high] {
				w.t.Fatalf("asked a source of weight %d for %d while %d jobs wait in one of weight %d that was asked for %d",
					low.weight, w.left[low], high.backlog, high.weight, w.left[high])
			}
		}
	}
}

func TestStrictOrder(t *testing.T) {
	const many = 1 << 40
	type state struct {
		weight  int
		backlog uint64
		asked   int // of a backlog, in flight
		shut    bool
		short   bool
		want    int
	}
	tests := []struct {
		name    string
		inHand  int // of 10 slots
		sources []state
	}{
		{"all to the heaviest", 0, []state{{weight: 1, backlog: many}, {weight: 6, backlog: many, want: 10}, {weight: 3, backlog: many}}},
		{"what the heaviest cannot use to the next", 0, []state{{weight: 6, backlog: 4, want: 4}, {weight: 3, backlog: 5, want: 5}, {weight: 1, backlog: many, want: 1}}},
		{"one slot", 9, []state{{weight: 2, backlog: 1, want: 1}, {weight: 1, backlog: many}}},
		{"no slot", 10, []state{{weight: 2, backlog: 1}, {weight: 1, backlog: many}}},
		{"kept for one that cannot be asked again yet", 2, []state{{weight: 2, backlog: many, asked: 3}, {weight: 1, backlog: many}}},
		{"all of the heaviest is on its way", 2, []state{{weight: 2, backlog: 3, asked: 3}, {weight: 1, backlog: many, want: 5}}},
		{"not kept for one that is shut", 0, []state{{weight: 2, backlog: many, shut: true}, {weight: 1, backlog: many, want: 10}}},
		{"types of one weight share", 0, []state{{weight: 2, backlog: many, want: 5}, {weight: 2, backlog: many, want: 5}, {weight: 1, backlog: many}}},
		{"no request stands below a backlog", 0, []state{{weight: 3, want: 1}, {weight: 2, backlog: many, want: 10}, {weight: 1}}},
		{"idle ones are heard", 0, []state{{weight: 3, want: 1}, {weight: 2, want: 1}, {weight: 1, want: 1}}},
		{"idle above a backlog", 9, []state{{weight: 2, want: 1}, {weight: 1, backlog: many, want: 1}}},
		{"short jobs are asked for ahead", 10, []state{{weight: 2, backlog: many, short: true, want: 30}, {weight: 1, backlog: many}}},
		{"not before longer ones of more weight", 10, []state{{weight: 2, backlog: many}, {weight: 1, backlog: many, short: true}}},
		{"nor once these are all asked for", 9, []state{{weight: 2, backlog: 1, want: 1}, {weight: 1, backlog: many, short: true, want: 30}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := demand{order: Strict, concurrency: 10, inHand: tt.inHand}
			var want []int
			for _, st := range tt.sources {
				s := d.add(st.weight)
				s.open, s.backlog, s.asked, s.greedy = true, st.backlog, st.asked, st.asked > 0
				if st.shut {
					d.closed(s)
				}
				if st.short {
					s.runs, s.run = runSamples, time.Millisecond
				}
				want = append(want, st.want)
			}
			got := make([]int, len(want))
			asks, _ := d.plan(time.Now)
			for _, g := range asks {
				got[slices.Index(d.sources, g.source)] = g.n
			}
			if !slices.Equal(got, want) {
				t.Errorf("plan() = %v, want %v", got, want)
			}
		})
	}
}

// Whatever happens, nothing is asked of a source while jobs wait in a heavier one, no slot
// stays free for long, and the bounds are those of any order.
func TestStrictOrderAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 12).Draw(t, "weights")
		w := newStrictModel(t, rapid.IntRange(1, 20).Draw(t, "concurrency"), weights...)
		job := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second}).Draw(t, "job")
		ran := rapid.SampledFrom([]time.Duration{0, job, job, job})
		backlog := rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64Range(0, 5), rapid.Just(uint64(100_000)))
		w.updateStrictly()
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(t *rapid.T) {
				s := pick(t, w.pulled())
				n := rapid.IntRange(1, w.left[s]).Draw(t, "n")
				s.unsent = false
				w.left[s] -= n
				w.running[s] += n
				w.delivered(s, n, backlog.Draw(t, "backlog"))
				w.updateStrictly()
			},
			"job ends": func(t *rapid.T) {
				s := pick(t, w.busy())
				w.running[s]--
				w.gone(s, ran.Draw(t, "ran"))
				w.updateStrictly()
			},
			"pull ends": func(t *rapid.T) {
				s := pick(t, w.pulled())
				s.unsent = false
				if s.greedy {
					s.backlog = 0
				}
				n := w.left[s]
				w.left[s] = 0
				w.returned(s, n)
				w.updateStrictly()
			},
			"shut": func(t *rapid.T) {
				s := pick(t, w.sources)
				w.left[s] = 0
				w.closed(s)
				w.updateStrictly()
			},
			"open": func(t *rapid.T) {
				w.opened(pick(t, w.with(func(s *Source) bool { return !s.open })))
				w.updateStrictly()
			},
			"": func(t *rapid.T) {
				if w.freeSlots() > 0 && w.asked() == 0 && len(w.with(func(s *Source) bool { return s.open })) > 0 {
					t.Fatalf("%d slots are free and nothing is asked for", w.freeSlots())
				}
			},
		})
	})
}

// A lone job of a queue without a backlog comes by a standing request, may find no slot, and
// is handed back. The next slot is its own, whatever the order.
func TestHandedBackJobIsNotForgotten(t *testing.T) {
	for _, o := range []Order{ByWeight, Strict} {
		d := demand{order: o, concurrency: 1}
		lone, busy := d.add(6), d.add(1)
		d.opened(lone)
		d.opened(busy)
		d.plan(time.Now)
		d.delivered(busy, 1, 1<<40)
		d.delivered(lone, 1, 0)
		d.handedBack(lone)
		d.plan(time.Now)
		d.finished(busy, time.Minute)
		if got, _ := d.plan(time.Now); len(got) == 0 || got[0].source != lone {
			t.Errorf("order %d: plan() = %+v, want the source of the job that was handed back first", o, got)
		}
	}
}

// Slots that fall free while a source's pull is under way are not lost to it: it gets its
// share, however the answers of the broker and the ends of jobs interleave.
func TestSharesWhilePullsAreUnderWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 10), 2, 6).Draw(t, "weights")
		ran := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second}).Draw(t, "ran")
		w := newModel(t, rapid.IntRange(1, 16).Draw(t, "concurrency"), weights...)
		answers := rapid.SliceOfN(rapid.Bool(), 61, 61).Draw(t, "answers") // before the next job ends, over and over
		sum := 0
		for _, weight := range weights {
			sum += weight
		}
		w.update()
		total := 0
		for i := 0; total < 40*sum; i++ {
			pulled, busy := w.pulled(), w.busy()
			if len(busy) > 0 && (len(pulled) == 0 || !answers[i%len(answers)]) {
				w.finish(busy[i%len(busy)], ran)
				continue
			}
			s := slices.MinFunc(pulled, func(a, b *Source) int { return a.lastAsk - b.lastAsk }) // the oldest is answered first
			total += w.left[s]
			w.deliver(s, w.left[s], 1<<40)
		}
		slack := float64((2+aheadFactor)*w.concurrency + 2*len(weights) + maxStanding) // the first requests, and what is in flight
		for i, s := range w.sources {
			want := float64(total) * float64(weights[i]) / float64(sum)
			if got := float64(w.given[s]); math.Abs(got-want) > slack {
				t.Fatalf("source %d of weights %v got %v of %d jobs, want %.0f±%.0f", i, weights, got, total, want, slack)
			}
		}
	})
}

// What is delivered while a source is shut does not have others wait for it.
func TestShutSourceHoldsNobodyUp(t *testing.T) {
	d := demand{order: Strict, concurrency: 2}
	heavy, light := d.add(2), d.add(1)
	d.opened(heavy)
	d.opened(light)
	d.delivered(light, 0, 50)
	d.delivered(heavy, 1, 50)
	d.closed(heavy)
	d.delivered(heavy, 1, 49) // on its way when it was shut
	d.finished(heavy, time.Minute)
	d.finished(heavy, time.Minute)
	if asks, _ := d.plan(time.Now); len(asks) != 1 || asks[0].source != light || asks[0].n != 2 {
		t.Errorf("planned %v, want two jobs of the queue that is open", asks)
	}
}
