package tally_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/tally"
)

// Bucket i has what took more than 2^((i-1)/4) and at most 2^(i/4) seconds.
func TestBucketOf(t *testing.T) {
	for d, want := range map[time.Duration]int{
		-time.Second: tally.FirstBucket, 0: tally.FirstBucket, time.Nanosecond: tally.FirstBucket, 30 * time.Microsecond: tally.FirstBucket,
		31 * time.Microsecond:  tally.FirstBucket + 1,
		500 * time.Millisecond: -4, 500*time.Millisecond + 1: -3, time.Second: 0, time.Second + 1: 1, 2 * time.Second: 4,
		1 << 17 * time.Second: tally.LastBucket, 1<<17*time.Second + time.Microsecond: tally.Above, math.MaxInt64: tally.Above,
	} {
		if got := tally.BucketOf(d); got != want {
			t.Errorf("%v is in bucket %d, want %d", d, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(math.Exp(rapid.Float64Range(math.Log(40e3), math.Log(1e14)).Draw(t, "log ns")))
		i := tally.BucketOf(d)
		if s := d.Seconds(); s <= tally.UpperBound(i-1) || s > tally.UpperBound(i) {
			t.Errorf("%v is in bucket %d, from %v to %v s", d, i, tally.UpperBound(i-1), tally.UpperBound(i))
		}
	})
}

func drawTimes(t *rapid.T, label string) []time.Duration {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(math.Exp(rapid.Float64Range(math.Log(40e3), math.Log(1e14)).Draw(t, "log ns")))
	}), 0, 30).Draw(t, label)
}

// A quantile is off by at most 9 %.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ds := drawTimes(t, "times")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		got := tally.NewHistogram(ds...).Quantile(q)
		if len(ds) == 0 {
			if got != 0 {
				t.Fatalf("%v of nothing", got)
			}
			return
		}
		slices.Sort(ds)
		exact := ds[max(int(math.Ceil(q*float64(len(ds)))), 1)-1]
		if off := math.Abs(got.Seconds()/exact.Seconds() - 1); off > 0.09 {
			t.Errorf("quantile %v is %v, want %v: off by %.3f", q, got, exact, off)
		}
	})
	if got := tally.NewHistogram(time.Microsecond).Quantile(0.5); got > 31*time.Microsecond {
		t.Errorf("%v of a microsecond", got)
	}
	if got := tally.NewHistogram(1000 * time.Hour).Quantile(0.5); got != 1<<17*time.Second {
		t.Errorf("%v of what is above all buckets, want their bound", got)
	}
}

func drawCounts(t *rapid.T) *tally.Counts {
	c := new(tally.Counts)
	for i := range c.N {
		c.N[i] = rapid.SampledFrom([]uint64{0, 0, 1, 2, 1000}).Draw(t, "n")
	}
	for i := range c.H {
		c.H[i] = *tally.NewHistogram(drawTimes(t, "times")...)
	}
	return c
}

func drawSums(t *rapid.T, label string) tally.Sums {
	return rapid.Custom(func(t *rapid.T) tally.Sums {
		s := make(tally.Sums)
		for range rapid.IntRange(0, 3).Draw(t, "pairs") {
			p := tally.Pair{Queue: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "queue"), Type: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "type")}
			s[p] = drawCounts(t)
		}
		return s
	}).Draw(t, label)
}

func add(all ...tally.Sums) tally.Sums {
	sum := make(tally.Sums)
	for _, s := range all {
		sum.AddAll(s)
	}
	return sum
}

// inside has the types compared field by field.
func inside() gocmp.Option { return gocmp.AllowUnexported(tally.Histogram{}) }

// To add is associative and commutative, loses nothing, and changes none of what is added.
func TestAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawSums(t, "a"), drawSums(t, "b"), drawSums(t, "c")
		before := encode(t, a)
		left, right := add(add(a, b), c), add(a, add(b, c))
		if d := gocmp.Diff(left, right, inside()); d != "" {
			t.Errorf("(a+b)+c is not a+(b+c):\n%s", d)
		}
		if d := gocmp.Diff(add(a, b), add(b, a), inside()); d != "" {
			t.Errorf("a+b is not b+a:\n%s", d)
		}
		total := func(all ...tally.Sums) (n, timed uint64) {
			for _, s := range all {
				for _, c := range s {
					n += c.Ended() + c.N[tally.Started]
					timed += c.Histogram(tally.Run).Count()
				}
			}
			return n, timed
		}
		n, timed := total(a, b, c)
		if gotN, gotTimed := total(left); gotN != n || gotTimed != timed {
			t.Errorf("the sum has %d and %d, its parts %d and %d", gotN, gotTimed, n, timed)
		}
		if after := encode(t, a); after != before {
			t.Errorf("adding a changed it from %s to %s", before, after)
		}
	})
}

func encode(t *rapid.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is stored is read as it was.
func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)
		want := &tally.Record{Node: "n", UpTo: 7, At: at, Periods: []*tally.Period{{At: at, Sums: drawSums(t, "sums"), Backlog: drawBacklog(t)}}}
		body, ok := want.Encode(1 << 20)
		if !ok {
			t.Fatal("no room")
		}
		got, err := tally.ReadRecord(body)
		if err != nil {
			t.Fatal(err)
		}
		if d := gocmp.Diff(want, got, inside()); d != "" {
			t.Errorf("%s\n%s", body, d)
		}
	})
}

func drawBacklog(t *rapid.T) *tally.Backlog {
	b := &tally.Backlog{Samples: 1, Dead: tally.One(rapid.Uint64Range(0, 9).Draw(t, "dead")), Queues: map[string]*tally.QueueBacklog{
		"q": {LastSeq: rapid.Uint64Range(1, 9).Draw(t, "seq"), Types: map[string]*tally.TypeBacklog{"t": {Ready: tally.One(rapid.Uint64Range(0, 9).Draw(t, "ready"))}}},
	}}
	if rapid.Bool().Draw(t, "twice") {
		b.Add(b)
	}
	return b
}

// The levels of several moments are added in any order, too.
func TestBacklogAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawBacklog(t), drawBacklog(t)
		x, y := new(tally.Backlog), new(tally.Backlog)
		x.Add(a)
		x.Add(b)
		y.Add(b)
		y.Add(a)
		if d := gocmp.Diff(x, y); d != "" {
			t.Errorf("a+b is not b+a:\n%s", d)
		}
		ready := x.Queues["q"].Types["t"].Ready
		if mean := ready.Mean(x.Samples); mean > float64(ready.Max) {
			t.Errorf("a mean of %v with at most %d", mean, ready.Max)
		}
	})
}

// Numbers are left out that are zero, and a busy pair takes 250 bytes at most.
func TestRecordSize(t *testing.T) {
	book := tally.NewBook()
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		l := book.Of("default", "email"+string(rune('a'+random.IntN(20))))
		for range 200 {
			l.Started(time.Duration(20e6 * math.Exp(random.NormFloat64()/2)))
			l.Ran(time.Duration(300e6 * math.Exp(random.NormFloat64()/2)))
			l.Ended(job.EventSucceeded, "")
		}
		l.Ended(job.EventRetrying, "")
		l.Followed(time.Now(), time.Minute)
	}
	sums := book.Read(time.Now(), nil)
	r := tally.NewRecorder("web-1-9f86d081").Next(time.Now(), sums)
	body, _ := r.Encode(1 << 20)
	t.Logf("%d bytes for %d pairs, such as %.400s", len(body), len(sums), body)
	if got := (len(body) - 150) / len(sums); got > 250 {
		t.Errorf("%d bytes a pair", got)
	}
	one, err := json.Marshal(&tally.Counts{})
	if err != nil || string(one) != "{}" {
		t.Errorf("nothing is %s, %v", one, err)
	}
}

// A record has room for any number of pairs: the less busy ones lose their histograms, then their
// names, and nothing of the sums is lost.
func TestRecordIsBounded(t *testing.T) {
	sums := make(tally.Sums)
	var started, exhausted uint64
	for i := range 10_000 {
		n := uint64(i%7) + 1
		c := &tally.Counts{}
		c.N[tally.Started], c.N[tally.Exhausted] = n, 1
		c.H[tally.Run] = *tally.NewHistogram(time.Millisecond, time.Minute)
		sums[tally.Pair{Queue: "q", Type: "type" + string(rune(0x4e00+i))}] = c
		started += n
		exhausted++
	}
	for _, most := range []int{1 << 20, 100_000, 2_000, 300} {
		body, ok := (&tally.Record{Periods: []*tally.Period{{Sums: sums}}}).Encode(most)
		if !ok || len(body) > most {
			t.Fatalf("%d bytes, at most %d", len(body), most)
		}
		got, err := tally.ReadRecord(body)
		if err != nil {
			t.Fatal(err)
		}
		var gotStarted, gotExhausted uint64
		for _, c := range got.Periods[0].Sums {
			gotStarted += c.N[tally.Started]
			gotExhausted += c.N[tally.Exhausted]
		}
		if gotStarted != started || gotExhausted != exhausted {
			t.Errorf("in %d bytes: %d started and %d exhausted, want %d and %d", most, gotStarted, gotExhausted, started, exhausted)
		}
		if _, there := got.Periods[0].Sums[tally.Pair{Queue: "q", Type: tally.OtherType}]; !there {
			t.Errorf("in %d bytes: none are summed up", most)
		}
	}
}

// A worker's records have each count once, whenever they are made.
func TestRecorder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		book, recorder := tally.NewBook(), tally.NewRecorder("n")
		now := time.Unix(1e9, 0)
		told := make(tally.Sums)
		pairs := []tally.Pair{{Queue: "a", Type: "x"}, {Queue: "b", Type: "y"}}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "s")) * time.Second)
			p := rapid.SampledFrom(pairs).Draw(t, "pair")
			l := book.Of(p.Queue, p.Type)
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				l.Started(time.Second)
				l.Ran(time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "ran")))
			case 1:
				l.Ended(job.EventDead, job.ReasonPermanent)
			case 2:
				l.Followed(now, time.Duration(rapid.Int64Range(0, 4000e9).Draw(t, "delay")))
			case 3:
				l.Fired(time.Millisecond)
			case 4:
				var running []tally.Running
				if rapid.Bool().Draw(t, "running") {
					running = append(running, tally.Running{Pair: p, Since: now.Add(-time.Minute)})
				}
				if r := recorder.Next(now, book.Read(now, running)); r != nil {
					told.AddAll(r.Periods[0].Sums)
				}
			}
		}
		if r := recorder.Next(now, book.Read(now, nil)); r != nil {
			told.AddAll(r.Periods[0].Sums)
		}
		want := book.Read(now, nil)
		for _, s := range []tally.Sums{want, told} {
			maps.DeleteFunc(s, func(_ tally.Pair, c *tally.Counts) bool {
				c.N[tally.Busy] = 0 // of those that run, which the last look does not have
				return c.IsZero()
			})
		}
		if d := gocmp.Diff(want, told, inside()); d != "" {
			t.Errorf("told is not what was counted:\n%s", d)
		}
		if r := recorder.Next(now, book.Read(now, nil)); r != nil {
			t.Errorf("a record of nothing: %+v", r)
		}
	})
}

// What a worker puts back counts as due once its time has come, and not before.
func TestDue(t *testing.T) {
	book := tally.NewBook()
	l := book.Of("q", "t")
	start := time.Unix(1e9, 0)
	for _, delay := range []time.Duration{0, time.Second, 25 * time.Second, 30 * time.Minute, 59 * time.Minute, 3 * time.Hour} {
		l.Followed(start, delay)
	}
	due := func(after time.Duration) uint64 {
		return book.Read(start.Add(after), nil)[tally.Pair{Queue: "q", Type: "t"}].N[tally.Due]
	}
	for _, tt := range []struct {
		after time.Duration
		want  uint64
	}{{0, 0}, {10 * time.Second, 1}, {40 * time.Second, 2}, {29 * time.Minute, 2}, {31 * time.Minute, 3}, {time.Hour, 4}, {4 * time.Hour, 4}} {
		if got := due(tt.after); got != tt.want {
			t.Errorf("after %v %d are due, want %d", tt.after, got, tt.want)
		}
	}
	l.Followed(start.Add(4*time.Hour), time.Second)
	if got := due(4*time.Hour + time.Minute); got != 5 {
		t.Errorf("%d are due after hours without a look, want 5", got)
	}
}

// A record in doubt is not sent again once the stream may have forgotten it; one that never left is
// kept for longer.
func TestOutbox(t *testing.T) {
	start := time.Unix(1e9, 0)
	o := &tally.Outbox{DoubtFor: time.Minute}
	for i := range 3 {
		o.Put(&tally.Record{}, uint64(i), start)
	}
	first, _ := o.Next(start)
	o.Failed(first, start, true)
	o.Failed(first, start.Add(30*time.Second), true) // counts from the first
	if l, dropped := o.Next(start.Add(59 * time.Second)); l != first || dropped != 0 || !l.Again() {
		t.Errorf("%+v and %d dropped within the minute", l, dropped)
	}
	second, dropped := o.Next(start.Add(time.Minute))
	if second == nil || second.Number != 1 || dropped != 1 {
		t.Fatalf("%+v and %d dropped after it, want the second", second, dropped)
	}
	o.Failed(second, start, false)
	if l, dropped := o.Next(start.Add(9 * time.Minute)); l != second || dropped != 0 {
		t.Errorf("%+v and %d dropped, of one that never left", l, dropped)
	}
	o.Stored()
	if l, dropped := o.Next(start.Add(10 * time.Minute)); l != nil || dropped != 1 || o.Len() != 0 {
		t.Errorf("%+v, %d dropped, %d left after ten minutes", l, dropped, o.Len())
	}
	dropped = 0
	for i := range 100 {
		dropped += o.Put(&tally.Record{}, uint64(i), start)
	}
	if l, _ := o.Next(start); l.Number != uint64(dropped) || dropped != 100-o.Len() {
		t.Errorf("%d dropped, %d left, the oldest is %d", dropped, o.Len(), l.Number)
	}
}

// Whatever is summed up in whatever portions, each part is in its own period, once.
func TestSumsOfSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Date(2026, 11, 29, 23, 40, 0, 0, time.UTC)
		var records []*tally.Record
		want := make(map[time.Time]tally.Sums)
		for range rapid.IntRange(0, 20).Draw(t, "records") {
			at := start.Add(time.Duration(rapid.IntRange(0, 7200).Draw(t, "s")) * time.Second)
			sums := drawSums(t, "sums")
			records = append(records, &tally.Record{At: at, Periods: []*tally.Period{{At: at, Sums: sums}}})
			if hour := at.Truncate(time.Hour); len(sums) > 0 {
				want[hour] = add(want[hour], sums)
			}
		}
		for _, res := range tally.Resolutions() {
			var next []*tally.Record
			for len(records) > 0 {
				n := rapid.IntRange(1, len(records)).Draw(t, "portion")
				sum := res.Begin(start)
				for _, r := range records[:n] {
					sum.Add(r)
				}
				next, records = append(next, sum.Record(uint64(n))), records[n:]
			}
			records = next
		}
		got := make(map[time.Time]tally.Sums)
		for _, r := range records {
			if !slices.IsSortedFunc(r.Periods, func(a, b *tally.Period) int { return cmp.Compare(a.At.Unix(), b.At.Unix()) }) {
				t.Error("periods are not in their order")
			}
			for _, p := range r.Periods {
				if len(p.Sums) > 0 {
					got[p.At] = add(got[p.At], p.Sums)
				}
			}
		}
		if d := gocmp.Diff(want, got, inside()); d != "" {
			t.Errorf("summed up is not what there was:\n%s", d)
		}
	})
}

func TestEnded(t *testing.T) {
	at := time.Date(2026, 11, 29, 10, 59, 59, 0, time.UTC)
	want := map[string]string{"1m": "10:58", "10m": "10:40", "1h": "09:00"}
	for _, r := range tally.Resolutions() {
		if got := r.Ended(at).Format("15:04"); got != want[r.Name] {
			t.Errorf("the last %s that has ended began at %s, want %s", r.Name, got, want[r.Name])
		}
	}
}

// The way of every job counts without allocating.
func TestCountingAllocatesNothing(t *testing.T) {
	book := tally.NewBook()
	if n := testing.AllocsPerRun(100, func() {
		l := book.Of("default", "email")
		l.Started(time.Millisecond)
		l.Ran(time.Second)
		l.Ended(job.EventSucceeded, "")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOf(b *testing.B) {
	book := tally.NewBook()
	book.Of("default", "email")
	for b.Loop() {
		book.Of("default", "email")
	}
}

func BenchmarkEnded(b *testing.B) {
	l := tally.NewBook().Of("default", "email")
	for b.Loop() {
		l.Ended(job.EventSucceeded, "")
	}
}

func BenchmarkRan(b *testing.B) {
	l := tally.NewBook().Of("default", "email")
	for b.Loop() {
		l.Ran(1234567)
	}
}

func BenchmarkRanParallel(b *testing.B) {
	l := tally.NewBook().Of("default", "email")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Ran(1234567)
		}
	})
}

// All that is counted of a job.
func BenchmarkJob(b *testing.B) {
	book := tally.NewBook()
	var settle tally.Timer
	b.ReportAllocs()
	for b.Loop() {
		l := book.Of("default", "email")
		l.Started(12_345)
		l.Ran(1_234_567)
		book.Of("default", "email").Ended(job.EventSucceeded, "")
		settle.Observe(345_678)
	}
}
