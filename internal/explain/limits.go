package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
)

// maxHolders is how many of the jobs that have a permit are named.
const maxHolders = 10

// limits says which of the limits that the job belongs to have no permit for it.
func (e *explainer) limits() {
	for _, u := range e.Registry.Usages {
		if u.Limit.Jobs == 0 || !e.covers(&u, e.answer.Queue, e.answer.Type) { // one that cannot be read is the workers' to tell of
			continue
		}
		if u.Rate {
			e.rate(&u)
		} else {
			e.quota(&u)
		}
	}
}

// covers reports whether a limit is for jobs of a type in a queue.
func (e *explainer) covers(u *registry.Usage, queue, typ string) bool {
	switch u.Kind {
	case slots.OfType:
		return u.Name == typ
	case slots.OfQueue:
		return u.Name == queue
	}
	return e.Registry.Keys[typ] == u.Name
}

// quota says that all permits of a quota are taken, by what, or by nobody.
func (e *explainer) quota(u *registry.Usage) {
	data := e.pool(u)
	lost, ends := lostPermits(u)
	switch {
	case data.Used >= u.Limit.Jobs:
		e.say(Reason{
			Code: QuotaFull, Blocking: true, Data: data,
			Text: fmt.Sprintf("%s allows %d at once, on all workers together, and %s", data.Pool, u.Limit.Jobs, count(data.Used, "is in hand", "are in hand")),
		})
		e.advise("raise the quota", fmt.Sprintf("millhand quota %s %d", data.Pool, u.Limit.Jobs+max(1, u.Limit.Jobs/2)))
		if len(data.Holders) > 0 {
			h := data.Holders[0]
			e.advise("or look at the oldest", "millhand inspect "+h.Queue+"/"+h.Type+"/"+h.ID)
		}
	case data.Held+lost < u.Limit.Jobs:
		// One is free.
	case lost > 0:
		e.say(Reason{
			Code: QuotaLost, Blocking: true, Until: ends, Data: data,
			Text: fmt.Sprintf("%d of the permits of %s, which are %d, were given in a registry that was lost, and count until they would have ended", lost, data.Pool, u.Limit.Jobs),
		})
	case len(data.Idle) > 0 && !e.spare(u):
		e.say(Reason{
			Code: QuotaHeldIdle, Blocking: true, Data: data,
			Text: fmt.Sprintf("%s, and %s; what is idle is for jobs that they ask for, and is passed on soon", permits(u, &data), some(data.Idle, "runs nothing with some of its own", "run nothing with some of theirs")),
		})
		e.advise("see who holds them", "millhand quota "+data.Pool)
	}
}

// spare reports whether a worker that could take the job has a permit which it does not even ask for
// other jobs with.
func (e *explainer) spare(u *registry.Usage) bool {
	return slices.ContainsFunc(e.takers(), func(n registry.Node) bool {
		return e.free(&n) > 0 && slices.ContainsFunc(u.Grants, func(g registry.NodeGrant) bool {
			return g.Node == n.ID && g.Held > max(g.Used, e.hands(u, &n))
		})
	})
}

func permits(u *registry.Usage, d *PoolData) string {
	if u.Limit.Jobs == 1 {
		return "the one permit of " + d.Pool + " is held"
	}
	return fmt.Sprintf("all %d permits of %s are held", u.Limit.Jobs, d.Pool)
}

// rate says that no more may start in a period.
func (e *explainer) rate(u *registry.Usage) {
	data := e.pool(u)
	data.Used, data.Holders, data.Idle = 0, nil, nil
	for _, g := range u.Grants {
		data.Used += g.Used
	}
	if max(data.Used, data.Held) < u.Limit.Jobs {
		return
	}
	e.say(Reason{
		Code: RateExhausted, Blocking: true, Until: e.At.Add(u.Limit.Per).UTC(), Data: data,
		Text: fmt.Sprintf("%s allows %d starts in %s, on all workers together, and these are used", data.Pool, u.Limit.Jobs, u.Limit.Per),
	})
	e.advise("raise the rate", fmt.Sprintf("millhand rate %s %d/%s", data.Pool, u.Limit.Jobs+max(1, u.Limit.Jobs/2), u.Limit.Per))
}

// pool says who has what of a limit: how many jobs run under it as the workers say, which is fewer than
// the permits that they count as used, since they ask for jobs with some of them.
func (e *explainer) pool(u *registry.Usage) PoolData {
	data := PoolData{Pool: u.Key.String(), Limit: u.Limit.Jobs}
	if u.Limit.Per > 0 {
		data.Per = u.Limit.Per.String()
	}
	hands := make(map[string]int)
	for _, n := range e.Registry.Nodes {
		hands[n.ID] = e.hands(u, &n)
		data.Used += hands[n.ID]
		for _, r := range n.Running {
			if e.covers(u, r.Queue, r.Type) {
				data.Holders = append(data.Holders, Holder{Worker: n.ID, Queue: r.Queue, Type: r.Type, ID: r.ID, Since: r.Since.UTC()})
			}
		}
	}
	for _, g := range u.Grants {
		if registry.IsLost(g.Node) {
			continue
		}
		data.Held += g.Held
		if g.Held > hands[g.Node] {
			data.Idle = append(data.Idle, g.Node)
		}
	}
	slices.SortFunc(data.Holders, func(a, b Holder) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	data.Holders = data.Holders[:min(len(data.Holders), maxHolders)]
	return data
}

// hands is how many jobs under a limit a worker has in hand, as it wrote last.
func (e *explainer) hands(u *registry.Usage, n *registry.Node) (jobs int) {
	if n.ByType == nil { // of an earlier version
		for _, g := range u.Grants {
			if g.Node == n.ID {
				return g.Used
			}
		}
		return 0
	}
	for of, load := range n.ByType {
		if queue, typ, _ := strings.Cut(of, "/"); e.covers(u, queue, typ) {
			jobs += load.Hand
		}
	}
	return jobs
}

// lostPermits are those that were granted in a bucket that is lost, and when they end.
func lostPermits(u *registry.Usage) (n int, ends time.Time) {
	for _, g := range u.Grants {
		if registry.IsLost(g.Node) {
			n, ends = g.Held, g.Ends
		}
	}
	return n, ends
}
