package verify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

func limitChecks() []Check {
	return []Check{
		{
			ID: "L01", Class: Limits, needs: []fact{ofRunning}, judge: grantsFit,
			Invariant: "the permits that workers hold add up to no more than the limit",
			Advice:    "permits end by themselves ten seconds after a worker's last word: see L04; if another program wrote the grant, remove its key",
		},
		{
			ID: "L02", Class: Limits, needs: []fact{ofRunning}, judge: runsFit,
			Invariant: "no more jobs run than the limit allows, and none at a worker without a permit",
			Advice:    "see the holders with 'millhand quota POOL' and 'millhand running'; if C05 is violated as well, a handler ignores its context",
		},
		{
			ID: "L03", Class: Limits, needs: []fact{ofEvents}, judge: startsFit,
			Invariant: "no more jobs start in a period than the rate allows",
			Advice:    "see S07 first: clocks that jump make starts look close; else please report it",
		},
		{
			ID: "L04", Class: Limits, needs: []fact{ofEntries}, judge: allExpire,
			Invariant: "permits, presences and orders end by themselves",
			Advice:    "whatever wrote the key left out its Nats-TTL: remove it with 'nats kv del', and mend that program",
		},
	}
}

// lost stands for what all workers had before the registry was lost.
const lost = "_lost"

// grantsFit is L01. A limit that was lowered does not end what runs, which keeps its permits.
func grantsFit(f *Facts) judgement {
	j := judgement{lookedAt: int64(len(f.Snapshot.Pools)), what: "limits", why: "there are no limits"}
	for _, p := range poolsOf(f.Snapshot) {
		if p.Limit <= 0 || p.Rate && f.Snapshot.At.Sub(p.Set) < 2*p.period+settles {
			continue
		}
		held := 0
		for _, g := range p.Grants {
			if g.Worker != lost {
				held += g.Held
			}
		}
		older := 0
		for _, r := range f.runningOf(&p) {
			if !f.counts(&p, r) {
				older++
			}
		}
		if held > max(p.Limit, older) {
			j.find(fmt.Sprintf("%s limit %d", poolName(&p), p.Limit), fmt.Sprintf("%s: workers hold %d permits, the limit is %d (%s)", poolName(&p), held, p.Limit, holders(&p)), p.Pool)
		}
	}
	return j
}

// runsFit is L02. Jobs that had started before the limit was set may be more than it allows. Those that
// started before the workers were asked and run now have run at the same time.
func runsFit(f *Facts) judgement {
	j := judgement{what: "limits", why: "there are no quotas"}
	for _, p := range poolsOf(f.Snapshot) {
		if p.Rate || p.Limit <= 0 {
			continue
		}
		j.lookedAt++
		running := f.runningOf(&p)
		for i, r := range running {
			if i >= p.Limit && f.counts(&p, r) {
				j.find(fmt.Sprintf("%s limit %d", poolName(&p), p.Limit), fmt.Sprintf("%s: %d jobs run, %d are allowed: %s", poolName(&p), len(running), p.Limit, jobsText(running)), running)
				break
			}
		}
		f.heldByEach(&j, &p, running)
	}
	return j
}

// heldByEach finds workers that run more than they hold.
func (f *Facts) heldByEach(j *judgement, p *pool, running []registry.Running) {
	held, present := make(map[string]int), make(map[string]bool)
	for _, g := range p.Grants {
		held[g.Worker] = g.Held
	}
	for i := range f.Snapshot.Workers {
		present[f.Snapshot.Workers[i].ID] = true
	}
	of := make(map[string][]registry.Running)
	for _, r := range running {
		if f.counts(p, r) && present[r.Node] {
			of[r.Node] = append(of[r.Node], r)
		}
	}
	for _, node := range sortedKeys(of) {
		if runs := of[node]; len(runs) > held[node] {
			j.find(fmt.Sprintf("%s at %s", poolName(p), node), fmt.Sprintf("%s: %s runs %d, its grant is %d: %s", poolName(p), node, len(runs), held[node], jobsText(runs)), runs)
		}
	}
}

// runningOf are the jobs of a pool that ran from before the snapshot until the workers were asked, the oldest first. What started
// just before is left out: it may have its permit from a job that ended meanwhile.
func (f *Facts) runningOf(p *pool) (all []registry.Running) {
	for _, r := range f.Running {
		if p.covers(r.Queue, r.Type) && r.Since.Before(f.Snapshot.At.Add(-skew)) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b registry.Running) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return all
}

// counts reports whether a job started under the limit as it is now. What ran when its type got the key
// is counted where it was.
func (f *Facts) counts(p *pool, r registry.Running) bool {
	return r.Since.After(p.since()) && (p.Kind != slots.OfKey || r.Since.After(f.Keyed[r.Type].Add(settles)))
}

// skew is how far clocks may differ: see S07.
const skew = time.Second

// shortPeriods are looked at several at a time: the clocks of two workers blur what is shorter.
const shortPeriods = 20 * time.Second

// startsFit is L03.
func startsFit(f *Facts) judgement {
	j := judgement{what: "starts", why: "no rate, or no event that tells of a start"}
	for _, p := range poolsOf(f.Snapshot) {
		if !p.Rate || p.Limit <= 0 || p.period <= 0 {
			continue
		}
		starts := slices.Clone(f.Ledger.Starts[p.Name])
		slices.SortFunc(starts, func(a, b Start) int { return a.At.Compare(b.At) })
		j.lookedAt += int64(len(starts))
		periods := 1
		if p.period < shortPeriods {
			periods = int((shortPeriods + p.period - 1) / p.period)
		}
		span, most := time.Duration(periods)*p.period-2*skew, periods*p.Limit
		for i := 0; i+most < len(starts); i++ {
			if a, b := starts[i], starts[i+most]; b.At.Sub(a.At) < span {
				j.find(fmt.Sprintf("%s %d %d", poolName(&p), a.Seq, b.Seq), fmt.Sprintf("%s: %d jobs started from %s to %s, %d are allowed in %v", poolName(&p), most+1, clock(a.At), clock(b.At), most, time.Duration(periods)*p.period), []Start{a, b}, a.Seq, b.Seq)
				break
			}
		}
	}
	return j
}

// allExpire is L04.
func allExpire(f *Facts) judgement {
	j := judgement{what: "keys", why: "there are neither workers nor orders"}
	for _, e := range f.Entries {
		if e.Value == nil || !shouldExpire(e) {
			continue
		}
		j.lookedAt++
		if e.TTL <= 0 {
			j.find(fmt.Sprintf("%s %d", e.Key, e.Rev), fmt.Sprintf("the key %s (revision %d) of the registry has no TTL", e.Key, e.Rev), map[string]any{"key": e.Key, "revision": e.Rev, "at": e.Time}, e.Rev)
		} else if late := f.Snapshot.At.Sub(e.Time.Add(e.TTL)); late > overdue {
			j.find(fmt.Sprintf("%s %d", e.Key, e.Rev), fmt.Sprintf("the key %s (revision %d) of the registry should have expired %v ago", e.Key, e.Rev, late.Round(time.Second)), map[string]any{"key": e.Key, "revision": e.Rev, "at": e.Time, "ttl": e.TTL.String()}, e.Rev)
		}
	}
	return j
}

// overdue is how late the broker may be: a worker removes what a killed broker has again.
const overdue = 30 * time.Second

func shouldExpire(e stream.Entry) bool {
	kind, rest, _ := strings.Cut(e.Key, ".")
	switch kind {
	case "node", "cancel", "order":
		return true
	case "grant", "rate":
		return !strings.HasSuffix(rest, "._limit")
	default:
		return false
	}
}

func poolName(p *pool) string {
	if p.Rate {
		return "rate of " + p.Name
	}
	return p.Name
}

func holders(p *pool) string {
	var all []string
	for _, g := range p.Grants {
		all = append(all, fmt.Sprintf("%s %d", g.Worker, g.Held))
	}
	return few(all)
}

func jobsText(running []registry.Running) string {
	var all []string
	for _, r := range running {
		all = append(all, fmt.Sprintf("%s/%s at %s since %s", r.Type, r.ID, r.Node, clock(r.Since)))
	}
	return few(all)
}

// few are the first of many, as text.
func few(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
