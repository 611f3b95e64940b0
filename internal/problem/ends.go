package problem

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/tally"
)

// When ends are too bad.
const (
	dyingOver    = 10   // jobs
	dyingShare   = 0.01 // of all ends
	failingOf    = 20   // ends, for a share to mean something
	failingShare = 0.2
	dueOf        = 20 // jobs
	lateOfMost   = 5 * time.Second
)

// ends says what of the runs of the last minutes ended badly.
func (d *decision) ends() {
	if !d.countsKnown {
		return
	}
	types := byType(d.counted.pairs)
	for _, typ := range slices.Sorted(maps.Keys(types)) {
		c := types[typ]
		d.dying(typ, c)
		d.failing(typ, c)
		d.lost(typ, c)
	}
	d.scheduleLate()
}

// dying is P05.
func (d *decision) dying(typ string, c *tally.Counts) {
	dead, ended := c.N[tally.Dead], c.Ended()
	if dead <= dyingOver || float64(dead) <= dyingShare*float64(ended) {
		return
	}
	d.say(sign{
		code: Dying, subject: typ, about: typ, is: fmt.Sprintf("%s dead in 10 min (%s of ends)", thousands(int64(dead)), percent(dead, ended)), //nolint:gosec // nobody runs that many
		advice: command("see their errors", "millhand dead groups -t %s", typ),
	})
}

// failing is P06.
func (d *decision) failing(typ string, c *tally.Counts) {
	failed, ended := c.N[tally.Retrying]+c.N[tally.Exhausted]+c.N[tally.Permanent], c.Ended()
	if ended < failingOf || float64(failed) <= failingShare*float64(ended) {
		return
	}
	d.say(sign{
		code: Failing, subject: typ, about: typ, is: fmt.Sprintf("%s of %s runs failed in 10 min (%s)", thousands(int64(failed)), thousands(int64(ended)), percent(failed, ended)), //nolint:gosec // nobody runs that many
		advice: command("see their errors", "millhand list state:retrying,dead type:%s", typ),
	})
}

// lost is P08. A worker that was killed is found out by the one that runs its jobs again, and one that was
// cut off by itself.
func (d *decision) lost(typ string, c *tally.Counts) {
	n := max(c.N[tally.Lost], c.N[tally.LostLeases])
	if n == 0 {
		return
	}
	d.say(sign{
		code: Lost, subject: typ, about: typ, is: leases(n) + " lost in 10 min: a worker was killed, cut off or stood still",
		advice: command("see who is there", "millhand workers"),
	})
}

func leases(n uint64) string { return count(int(n), "lease was", "leases were") } //nolint:gosec // nobody runs that many

// scheduleLate is P11. A worker knows when the jobs are due that it put back, and how late those came that
// it was given.
func (d *decision) scheduleLate() {
	queues := make(map[string]*tally.Counts)
	for p, c := range d.counted.since(lateOver) {
		if queues[p.Queue] == nil {
			queues[p.Queue] = new(tally.Counts)
		}
		queues[p.Queue].Add(c)
	}
	for _, q := range slices.Sorted(maps.Keys(queues)) {
		c := queues[q]
		due, fired, most := c.N[tally.Due], c.N[tally.Fired], c.Histogram(tally.Late).Quantile(0.99)
		s := sign{
			code: ScheduleLate, subject: q, about: "queue " + q,
			advice: command("look for jobs that are overdue", "millhand verify --deep --only Q01"),
		}
		switch {
		case due >= dueOf && fired < due/2:
			s.is = fmt.Sprintf("%s were due in 5 min, and %d were made ready", jobs(int64(due)), fired) //nolint:gosec // nobody runs that many
		case most > lateOfMost:
			s.is = fmt.Sprintf("jobs whose time has come are made ready up to %s late", short(most))
		default:
			continue
		}
		d.say(s)
	}
}

func percent(part, of uint64) string {
	share := 100 * float64(part) / float64(of)
	if share >= 10 { // of which two digits would be 1e+02
		return fmt.Sprintf("%.0f %%", share)
	}
	return fmt.Sprintf("%.2g %%", share)
}
