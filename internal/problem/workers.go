package problem

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// When something of a worker is a problem.
const (
	clockOff     = 2 * time.Second
	pausedFor    = time.Hour
	rebuiltOver  = 10 * time.Minute
	idleFor      = 20 * time.Second // with permits that last ten: they are written again every three
	drainGrace   = 30 * time.Second // beyond its timeout a worker hands back, and writes the last ends
	presentEvery = 4 * time.Second  // a worker says what it has
	leaseParts   = 3                // a lease is renewed in a third of it
)

// workers says what is wrong with workers.
func (d *decision) workers() {
	if !d.workersKnown {
		return
	}
	for i := range d.Snapshot.Workers {
		n := &d.Snapshot.Workers[i]
		if n.Stuck > 0 {
			d.say(sign{
				code: Stuck, subject: n.ID, about: "worker " + n.ID, is: count(n.Stuck, "handler ignores", "handlers ignore") + " the end of its context and still runs; its log shows where",
				advice: &Advice{Text: "mend the handler, and start the worker again"},
			})
		}
		if !n.Rebuilt.IsZero() && d.at().Sub(n.Rebuilt) < rebuiltOver {
			d.say(sign{
				code: Rebuilt, subject: n.ID, since: n.Rebuilt, about: "worker " + n.ID, is: "a subscription had stopped delivering and was made again",
				advice: &Advice{Text: "it goes on by itself; if that happens again, look at the broker's log"},
			})
		}
		if off := time.Duration(n.ClockAhead * float64(time.Second)); off.Abs() > clockOff {
			side := "ahead of"
			if off < 0 {
				side = "behind"
			}
			d.say(sign{
				code: Clock, subject: n.ID, about: "worker " + n.ID, is: fmt.Sprintf("its clock is %s %s the broker's", short(off.Abs()), side),
				advice: &Advice{Text: "have the clock of " + n.Host + " synchronised (chrony, systemd-timesyncd)"},
			})
		}
		d.drainLong(n)
	}
	for i := range d.Snapshot.Pipelines {
		d.unserved(&d.Snapshot.Pipelines[i])
	}
	d.versions()
	d.statsGap()
	for i := range d.Snapshot.Queues {
		q := &d.Snapshot.Queues[i]
		for j := range q.Types {
			d.unclaimed(q, &q.Types[j])
		}
	}
}

// onBroker is a time of a worker's clock by the broker's.
func onBroker(n *registry.Node, t time.Time) time.Time {
	return t.Add(-time.Duration(n.ClockAhead * float64(time.Second)))
}

// drainLong is P20.
func (d *decision) drainLong(n *registry.Node) {
	inHand := n.RunningTotal
	for _, l := range n.ByType {
		inHand = max(inHand, l.Hand)
	}
	if n.DrainingSince.IsZero() || inHand == 0 { // one that was told to drain from afar stays when it is done
		return
	}
	timeout := time.Duration(n.DrainTimeout * float64(time.Second))
	d.say(sign{
		code: DrainLong, subject: n.ID, since: n.DrainingSince, lasts: timeout + drainGrace, about: "worker " + n.ID,
		is:     fmt.Sprintf("it drains, has %s in hand, and waits %s for them when it stops", jobs(int64(inHand)), short(timeout)),
		advice: command("see what it runs", "millhand running worker:%s", n.ID),
	})
}

// unserved is P21. A process that is started again is there within seconds.
func (d *decision) unserved(p *view.Pipeline) {
	if !p.Unserved() || p.Lag == nil || *p.Lag == 0 {
		return
	}
	waiting := count(int(*p.Lag), "message waits", "messages wait")
	if p.LagAbout {
		waiting = "about " + waiting
	}
	d.say(sign{
		code: Unserved, subject: p.Name, since: p.LastActive, lasts: noWorkerAfter, about: "pipeline " + p.Name,
		is:     fmt.Sprintf("no process serves it, and %s in stream %s", waiting, p.Stream),
		advice: &Advice{Text: "start a process with it, or remove " + p.Position()},
	})
}

// versions is P18.
func (d *decision) versions() {
	if err := d.Server.Check(); err != nil {
		d.say(sign{code: Versions, level: Error, subject: "server", about: "server", is: err.Error(), advice: &Advice{Text: "upgrade every server of the cluster"}})
	}
	var old []string
	for i := range d.Snapshot.Workers {
		if n := &d.Snapshot.Workers[i]; n.ByType == nil {
			old = append(old, n.ID)
		}
	}
	if len(old) == 0 || len(old) == len(d.Snapshot.Workers) {
		return
	}
	d.say(sign{
		code: Versions, subject: "workers", about: count(len(old), "worker", "workers") + " of an earlier version",
		is:     some(old) + ": no pause of a type holds there, and what is in hand is not told",
		advice: command("see their versions", "millhand workers"),
	})
}

// statsGap is P19.
func (d *decision) statsGap() {
	if d.MinutesErr != nil || d.countsKnown || !d.counting() {
		return
	}
	about, since := "statistics", d.counted.until
	is := "no minute has been summed up lately, though workers are there: rates and some problems are not known"
	if since.IsZero() {
		is = "no minute has been summed up, though workers are there: rates and some problems are not known"
	}
	d.say(sign{code: StatsGap, about: about, is: is, since: since, advice: &Advice{Text: "a worker's log says what keeps it from writing them"}})
}

// counting reports whether a worker is there that counts, for long enough that a minute has been summed up.
func (d *decision) counting() bool {
	return slices.ContainsFunc(d.Snapshot.Workers, func(n registry.Node) bool {
		return !n.NoStats && n.ByType != nil && d.at().Sub(onBroker(&n, n.Started)) > gapAfter+wroteLate
	})
}

// unclaimed is P07. What a worker says is a few seconds old, so it only tells anything if nothing was handed
// out since all of them said it.
func (d *decision) unclaimed(q *view.Queue, t *view.Type) {
	if t.Info == nil || !t.InHand.Known() || !t.Claimed.Known() || t.InHand.Value <= t.Claimed.Value {
		return
	}
	for i := range d.Snapshot.Workers {
		if n := &d.Snapshot.Workers[i]; n.Seen.Before(t.LastActive.Add(presentEvery)) {
			return
		}
	}
	missing := t.InHand.Value - t.Claimed.Value
	d.say(sign{
		code: UnclaimedInHand, subject: q.Name + "/" + t.Name, lasts: t.Info.Config.AckWait / leaseParts,
		about:  ofType(missing, q.Name, t.Name),
		is:     "handed out, and no worker says that it has them; they are handed out again when their leases end, after " + short(t.Info.Config.AckWait),
		advice: command("see whether that is so", "millhand verify --only C05,C07"),
	})
}

// settings says which settings keep jobs from running that may have been forgotten.
func (d *decision) settings() {
	if !d.workersKnown {
		return
	}
	for i := range d.Snapshot.Queues {
		q := &d.Snapshot.Queues[i]
		if q.Paused != nil {
			d.paused(q.Name, "queue "+q.Name, q.Paused)
		}
		for j := range q.Types {
			if t := &q.Types[j]; t.Paused != nil {
				d.paused(q.Name+"/"+t.Name, "type "+t.Name+" in queue "+q.Name, t.Paused)
			}
		}
	}
	for i := range d.Snapshot.Pools {
		d.quotaIdle(&d.Snapshot.Pools[i])
	}
}

// paused is P09.
func (d *decision) paused(subject, about string, p *registry.Pause) {
	is := "paused"
	if p.By != "" {
		is += " by " + p.By
	}
	if p.Reason != "" {
		is += fmt.Sprintf(": %q", p.Reason)
	}
	d.say(sign{code: PausedLong, subject: subject, since: p.Since, lasts: pausedFor, about: about, is: is, advice: command("end the pause", "millhand resume %s", subject)})
}

// quotaIdle is P10.
func (d *decision) quotaIdle(p *view.Pool) {
	if p.Rate || !slices.ContainsFunc(p.Grants, func(g view.Grant) bool { return min(g.Need, g.Want) > g.Held }) {
		return
	}
	for i := range p.Grants {
		g := &p.Grants[i]
		if idle := g.Held - max(g.Used, g.Need); idle > 0 {
			d.say(sign{
				code: QuotaIdle, subject: p.Name + " at " + g.Worker, lasts: idleFor, about: "limit " + p.Name,
				is:     fmt.Sprintf("worker %s keeps %s that it does not use, while others want some", g.Worker, count(idle, "permit", "permits")),
				advice: command("see who holds them", "millhand quota %s", p.Name),
			})
		}
	}
}

// some names a few of many.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
}
