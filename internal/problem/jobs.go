package problem

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// How long what waits is let wait.
const (
	noWorkerAfter  = 30 * time.Second
	notPulledAfter = 30 * time.Second
	stalledAfter   = 5 * time.Minute
	stalledUnknown = time.Hour // for jobs of which nobody knows how long they take
	stalledTimes   = 3         // of what all but one in a hundred took
)

// waiting says what of the jobs that wait or run does not go on.
func (d *decision) waiting() {
	for i := range d.Snapshot.Queues {
		q := &d.Snapshot.Queues[i]
		d.late(q)
		if !d.workersKnown {
			continue
		}
		for j := range q.Types {
			t := &q.Types[j]
			d.noWorker(q, t)
			d.notPulled(q, t)
			d.stalled(t)
		}
		d.neverServed(q)
	}
	if d.workersKnown {
		d.nobody()
	}
}

// works reports whether any worker takes jobs.
func (d *decision) works() bool {
	return slices.ContainsFunc(d.Snapshot.Workers, func(n registry.Node) bool { return n.State != registry.Draining })
}

// nobody is P01 if there is no worker at all: one problem, however many types wait.
func (d *decision) nobody() {
	if d.works() {
		return
	}
	var since time.Time
	ready, queues := view.Counted(0, view.Exact, d.at()), 0
	for i := range d.Snapshot.Queues {
		q := &d.Snapshot.Queues[i]
		n := int64(0)
		for j := range q.Types {
			t := &q.Types[j]
			n += t.Ready.Value
			if t.Ready.Value > 0 {
				since = earlier(since, waitsSince(t))
			}
		}
		n += unnamed(q)
		if n > 0 {
			queues++
			ready.Value += n
		}
	}
	if queues == 0 {
		return
	}
	is := "there is no worker"
	if len(d.Snapshot.Workers) > 0 {
		is = "all workers drain"
	}
	d.say(sign{
		code: NoWorker, since: since, lasts: noWorkerAfter, about: jobs(ready.Value) + " in " + count(queues, "queue", "queues"), is: is,
		advice: &Advice{Text: "start a worker"},
	})
}

// noWorker is P01 of a type.
func (d *decision) noWorker(q *view.Queue, t *view.Type) {
	if t.Workers > 0 || !t.Ready.Known() || t.Ready.Value == 0 || !d.works() {
		return
	}
	is := "no worker serves it"
	if t.Draining > 0 {
		is = "only draining workers serve it"
	}
	d.say(sign{
		code: NoWorker, subject: q.Name + "/" + t.Name, since: waitsSince(t), lasts: noWorkerAfter,
		about: ofType(t.Ready.Value, q.Name, t.Name), is: is,
		advice: command("start a worker that serves it", "millhand types %s", t.Name),
	})
}

// neverServed is P01 of types whose names are not known.
func (d *decision) neverServed(q *view.Queue) {
	n := unnamed(q)
	if n == 0 || !d.works() {
		return
	}
	d.say(sign{
		code: NoWorker, subject: q.Name, lasts: noWorkerAfter, about: jobs(n) + " in queue " + q.Name, is: "no worker has ever served their types",
		advice: command("see which", "millhand list state:ready queue:%s", q.Name),
	})
}

// unnamed is how many jobs are ready of types that no worker has ever served, besides those of types that
// are known by name.
func unnamed(q *view.Queue) int64 {
	n := q.Unclaimed.Value
	for i := range q.Types {
		if t := &q.Types[i]; !t.Consumer {
			n -= t.Ready.Value
		}
	}
	return max(n, 0)
}

// waitsSince is since when jobs of a type are ready and none was handed out; zero: that is not known.
func waitsSince(t *view.Type) time.Time {
	if t.Oldest.How != view.Exact || t.Oldest.Seq == 0 {
		return time.Time{}
	}
	return later(t.Oldest.At, t.LastActive)
}

// notPulled is P03.
func (d *decision) notPulled(q *view.Queue, t *view.Type) {
	if t.Workers == 0 || !t.Ready.Known() || t.Ready.Value == 0 || q.Paused != nil || t.Paused != nil || !t.Consumer {
		return
	}
	is := "workers ask for it, and the broker hands none out"
	advice := &Advice{Text: "restart the server that leads the queue's stream", Command: "millhand verify --only Q01"}
	if t.Pulls == 0 {
		free := d.free(q, t)
		if free == 0 {
			return
		}
		is = count(free, "slot is", "slots are") + " free, and no worker asks for it"
		advice = command("see what they do", "millhand workers")
	}
	d.say(sign{
		code: NotPulled, subject: q.Name + "/" + t.Name, since: waitsSince(t), lasts: notPulledAfter,
		about: ofType(t.Ready.Value, q.Name, t.Name), is: is, advice: advice,
	})
}

// free is how many more jobs of a type the workers could run by all that is known, 0 if a limit is used up.
func (d *decision) free(q *view.Queue, t *view.Type) (slots int) {
	for i := range d.Snapshot.Pools {
		if p := &d.Snapshot.Pools[i]; limits(p, t) && (p.Limit == 0 || max(p.Used, p.Held) >= p.Limit) {
			return 0
		}
	}
	for i := range d.Snapshot.Workers {
		n := &d.Snapshot.Workers[i]
		if n.State == registry.Draining || n.SlotsFree == nil || !slices.Contains(n.Queues, q.Name) || !slices.Contains(n.Types, t.Name) || d.outranked(n, q) {
			continue
		}
		free := *n.SlotsFree
		if capped, ok := n.QueueSlotsFree[q.Name]; ok {
			free = min(free, capped)
		}
		slots += free
	}
	return slots
}

// outranked reports whether a worker has to take jobs of heavier queues first.
func (d *decision) outranked(n *registry.Node, q *view.Queue) bool {
	return slices.ContainsFunc(d.Snapshot.Queues, func(o view.Queue) bool {
		return n.StrictWeights[o.Name] > n.StrictWeights[q.Name] && o.Ready.Value > 0
	})
}

// limits reports whether a limit holds for a type.
func limits(p *view.Pool, t *view.Type) bool {
	switch p.Kind {
	case "key":
		return p.Name == "key="+t.Key
	case "queue":
		return p.Name == "queue="+t.Queue
	}
	return p.Name == t.Name
}

// stalled is P02.
func (d *decision) stalled(t *view.Type) {
	oldest := d.oldestRun(t)
	if !d.countsKnown || oldest.IsZero() {
		return
	}
	pair := tally.Pair{Queue: t.Queue, Type: t.Name}
	usual, past := d.usual(pair)
	quiet := max(stalledAfter, stalledTimes*usual)
	if usual == 0 {
		quiet = stalledUnknown
	}
	end := d.counted.lastEnd[pair]
	if end.IsZero() && !past.IsZero() {
		end = earlier(past, d.counted.from) // an hour's sum does not say when in it, and the minutes since say that none ended
	}
	since := later(oldest, end)
	if end.IsZero() && d.Past == nil {
		since = later(since, d.counted.from) // what was before is not known
	}
	took := "nobody knows how long they take"
	if usual > 0 {
		took = "they take " + short(usual) + " at most"
	}
	d.say(sign{
		code: Stalled, subject: t.Queue + "/" + t.Name, since: since, lasts: quiet,
		about: fmt.Sprintf("%s of type %s in queue %s", count(int(t.Running.Value), "job runs", "jobs run"), t.Name, t.Queue), is: "none has ended; " + took,
		advice: command("see which run for longest", "millhand running --type %s", t.Name),
	})
}

// oldestRun is since when the job of a type runs that runs for longest, zero if none is named.
func (d *decision) oldestRun(t *view.Type) (oldest time.Time) {
	for i := range d.Snapshot.Workers {
		n := &d.Snapshot.Workers[i]
		if n.NoStats {
			return time.Time{} // it does not say what ended
		}
		for _, r := range n.Running {
			if r.Queue == t.Queue && r.Type == t.Name {
				oldest = earlier(oldest, onBroker(n, r.Since))
			}
		}
	}
	return oldest
}

// usual is how long all but one in a hundred runs took, 0 if that is not known, and when one last ended.
func (d *decision) usual(p tally.Pair) (took time.Duration, lastEnd time.Time) {
	runs := new(tally.Histogram)
	if c := d.counted.pairs[p]; c != nil {
		runs.Add(c.Histogram(tally.Run))
	}
	if past := d.Past[p]; past != nil {
		runs, lastEnd = &past.Runs, past.LastEnd
	}
	return runs.Quantile(0.99), lastEnd
}

// NeedsPast reports whether jobs run for which the last minutes do not say how long such take.
func (f *Facts) NeedsPast() bool {
	c := f.count()
	for i := range f.Snapshot.Workers {
		n := &f.Snapshot.Workers[i]
		for _, r := range n.Running {
			last := c.lastEnd[tally.Pair{Queue: r.Queue, Type: r.Type}]
			if f.at().Sub(later(onBroker(n, r.Since), last)) >= stalledAfter {
				return true
			}
		}
	}
	return false
}

// late is P04. A queue that is paused is late because somebody wants it, and a type that nobody serves is a
// problem of its own.
func (d *decision) late(q *view.Queue) {
	if q.Paused != nil {
		return
	}
	var oldest *view.Type
	for i := range q.Types {
		t := &q.Types[i]
		if t.Paused != nil || t.Oldest.How != view.Exact || t.Oldest.Seq == 0 || d.workersKnown && t.Workers == 0 {
			continue
		}
		if oldest == nil || t.Oldest.At.Before(oldest.Oldest.At) {
			oldest = t
		}
	}
	objective := d.Objectives.Of(q.Name, d.Snapshot.Workers)
	if oldest == nil || d.at().Sub(oldest.Oldest.At) <= objective {
		return
	}
	d.say(sign{
		code: Late, subject: q.Name, since: oldest.Oldest.At.Add(objective), about: "queue " + q.Name,
		is:     fmt.Sprintf("its oldest ready job, of type %s, waits for %s, and %s is how long one may", oldest.Name, short(d.at().Sub(oldest.Oldest.At)), short(objective)),
		advice: command("see what it waits for", "millhand list state:ready queue:%s type:%s -n 1 -o name | millhand why -", q.Name, oldest.Name),
	})
}

func ofType(n int64, queue, typ string) string {
	return fmt.Sprintf("%s of type %s in queue %s", jobs(n), typ, queue)
}

func jobs(n int64) string {
	if n == 1 {
		return "1 job"
	}
	return thousands(n) + " jobs"
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(int64(n)) + " " + many
}

// thousands is a number in groups of three digits.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// short is a duration for people.
func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(100 * time.Millisecond)
	default:
		d = d.Round(time.Millisecond)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
