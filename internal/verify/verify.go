package verify

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
)

// Config says what is verified. All parts are over one connection.
type Config struct {
	Conn     *nats.Conn
	Client   *stream.Client
	Store    *queue.Store
	Registry *registry.Store
	View     *view.View
}

// Options say how.
type Options struct {
	Checks []Check // 0: all
	Looks  int     // how many looks have to see the same; 0: 2
	Deep   bool    // everything that there is, not a bounded sample of it

	// Waiting is told before another look which checks are not sure yet, and how long it waits;
	// nil: nobody cares.
	Waiting func(d time.Duration, unsure []string)
}

// The waits between looks.
const (
	defaultLease = 30 * time.Second
	maxGap       = 10 * time.Minute
)

// Run looks, and looks again for as long as there is something that was seen but not often enough. It
// returns an error only if nothing can be seen at all.
func Run(ctx context.Context, cfg Config, o Options) (*Report, error) {
	if len(o.Checks) == 0 {
		o.Checks = Checks()
	}
	if o.Looks <= 0 {
		o.Looks = 2
	}
	began := time.Now()
	g := &gatherer{cfg: cfg, deep: o.Deep}
	t := newTrial(o.Checks, o.Looks)
	for {
		f, err := g.gather(ctx, t.needs())
		if err != nil {
			return nil, err
		}
		if t.looks == 0 {
			t.report.Namespace, t.report.Server, t.report.At = f.Snapshot.Namespace, f.Snapshot.Server.Version, f.Snapshot.At
		}
		t.look(f)
		unsure := t.unsure()
		if len(unsure) == 0 {
			return t.end(time.Since(began)), nil
		}
		gap := gapOf(f.Snapshot)
		if o.Waiting != nil {
			o.Waiting(gap, unsure)
		}
		if err := stream.Sleep(ctx, gap); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
}

// gapOf is how long after a look the next one comes: a worker renews its leases in half of it.
func gapOf(s *view.Snapshot) time.Duration { return min(2*longestLease(s)/3, maxGap) }

// longestLease is that of all consumers.
func longestLease(s *view.Snapshot) time.Duration {
	longest := time.Duration(0)
	for _, t := range typesOf(s) {
		if t.Info != nil {
			longest = max(longest, t.Info.Config.AckWait)
		}
	}
	if longest == 0 {
		return defaultLease
	}
	return longest
}

func typesOf(s *view.Snapshot) (all []*view.Type) {
	for i := range s.Queues {
		for j := range s.Queues[i].Types {
			all = append(all, &s.Queues[i].Types[j])
		}
	}
	return all
}

// A trial is what was seen so far. It is pure.
type trial struct {
	checks []Check
	want   int // looks that have to see the same
	looks  int
	report Report
}

func newTrial(checks []Check, want int) *trial {
	t := &trial{checks: checks, want: want}
	for i := range checks {
		c := &checks[i]
		t.report.Checks = append(t.report.Checks, Result{ID: c.ID, Class: c.Class, Invariant: c.Invariant, Doc: c.Doc()})
	}
	return t
}

// open reports whether another look is needed at a check: at all of them at first, and then at those
// whose findings were not seen often enough.
func (t *trial) open(i int) bool {
	return t.looks == 0 || len(t.report.Checks[i].Findings) > 0 && t.looks < t.want+t.checks[i].more
}

// unsure returns the ids of the open checks.
func (t *trial) unsure() (ids []string) {
	for i := range t.checks {
		if t.open(i) {
			ids = append(ids, t.checks[i].ID)
		}
	}
	return ids
}

// needs returns what the open checks have to know.
func (t *trial) needs() map[fact]bool {
	needs := make(map[fact]bool)
	for i := range t.checks {
		if t.open(i) {
			for _, n := range t.checks[i].needs {
				needs[n] = true
			}
		}
	}
	return needs
}

// look judges the facts of another look.
func (t *trial) look(f *Facts) {
	for i := range t.checks {
		if !t.open(i) {
			continue
		}
		r := &t.report.Checks[i]
		j := judge(&t.checks[i], f)
		for k := range j.findings {
			j.findings[k].Seen = []time.Time{f.Snapshot.At}
		}
		if t.looks == 0 {
			r.LookedAt, r.Of, r.What, r.Why, r.Findings = j.lookedAt, j.of, j.what, j.why, j.findings
			continue
		}
		if j.lookedAt == 0 { // it could not look again, so nothing is sure
			r.LookedAt, r.Why = 0, "something was found, and then could not be looked at again: "+j.why
		}
		r.Findings = again(r.Findings, j.findings)
	}
	t.looks++
}

// judge asks a check, unless something that it needs is not known.
func judge(c *Check, f *Facts) judgement {
	for _, n := range c.needs {
		if err := f.failed[n]; err != nil {
			return skip("cannot be read: " + err.Error())
		}
	}
	return c.judge(f)
}

// again returns what was seen before and is seen now, as it is now.
func again(before, now []Finding) (both []Finding) {
	for _, n := range now {
		if i := slices.IndexFunc(before, func(b Finding) bool { return b.About == n.About }); i >= 0 {
			n.Seen = append(before[i].Seen, n.Seen...)
			both = append(both, n)
		}
	}
	return both
}

// end sums up.
func (t *trial) end(took time.Duration) *Report {
	t.report.Looks, t.report.Took = t.looks, took.Seconds()
	for i := range t.report.Checks {
		r := &t.report.Checks[i]
		if r.LookedAt > 0 {
			r.Why = ""
		}
		switch {
		case len(r.Findings) > 0:
			r.Status, r.Advice = Violated, t.checks[i].Advice
			t.report.Violated++
		case r.LookedAt == 0:
			r.Status = Skipped
			t.report.Skipped++
		default:
			r.Status = Passed
			t.report.OK++
		}
	}
	return &t.report
}
