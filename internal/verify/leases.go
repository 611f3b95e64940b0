package verify

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

func leaseChecks() []Check {
	return []Check{
		{
			ID: "C05", Class: Leases, needs: []fact{ofRunning}, judge: claimsAreHandedOut,
			Invariant: "nobody runs a job that is not handed out",
			Advice:    "a handler that ignores its context runs on after its lease was lost: restart its worker, and have the handler heed ctx",
		},
		{
			ID: "C06", Class: Leases, needs: []fact{ofRunning}, judge: oneHolder,
			Invariant: "no job runs at two workers",
			Advice:    "one of them has lost the job and its handler does not heed its context: restart that worker; what it writes is refused",
		},
		{
			ID: "C07", Class: Leases, needs: []fact{ofRunning, ofHands}, more: 1, judge: noLostLease,
			Invariant: "whatever is handed out is with a worker, or is handed out again when its lease ends and a worker asks",
			Advice:    "start a worker that serves the type; if one does and has free slots, restart the broker that leads the queue's stream",
		},
	}
}

// claimsAreHandedOut is C05.
func claimsAreHandedOut(f *Facts) judgement {
	j := judgement{lookedAt: int64(len(f.Claims)), of: int64(len(f.Running)), what: "running jobs", why: "nothing has run for a second"}
	for i := range f.Claims {
		c := &f.Claims[i]
		about := fmt.Sprintf("%s/%s/%s %s %s %d", c.Queue, c.Type, c.ID, c.Life, c.Node, c.Since.UnixNano())
		switch {
		case c.Message == 0:
			j.find(about, fmt.Sprintf("%s/%s/%s runs at %s and is not in its queue", c.Queue, c.Type, c.ID, c.Node), c)
		case c.Message > c.Delivered && c.Delivered > 0:
			j.find(about, fmt.Sprintf("%s/%s/%s runs at %s, but its message %d waits to be handed out", c.Queue, c.Type, c.ID, c.Node, c.Message), c, c.Message)
		}
	}
	return j
}

// oneHolder is C06.
func oneHolder(f *Facts) judgement {
	j := judgement{lookedAt: int64(len(f.Running)), what: "running jobs", why: "nothing runs"}
	type place struct{ queue, typ, id string }
	first := make(map[place]int)
	for i, r := range f.Running {
		k := place{r.Queue, r.Type, r.ID}
		before, again := first[k]
		if !again {
			first[k] = i
			continue
		}
		b := f.Running[before]
		if b.Node == r.Node {
			continue
		}
		nodes := []string{b.Node + " " + b.Life, r.Node + " " + r.Life}
		slices.Sort(nodes)
		j.find(fmt.Sprintf("%s/%s/%s %s %s", r.Queue, r.Type, r.ID, nodes[0], nodes[1]),
			fmt.Sprintf("%s/%s/%s runs at %s since %s and at %s since %s", r.Queue, r.Type, r.ID, b.Node, clock(b.Since), r.Node, clock(r.Since)), []any{b, r})
	}
	return j
}

// noLostLease is C07. Its looks span more than a lease, so what was lost before the first one is handed
// out again before the last one.
func noLostLease(f *Facts) judgement {
	j := judgement{what: "handed-out jobs", why: "nothing is handed out"}
	for _, t := range typesOf(f.Snapshot) {
		if t.Info != nil {
			j.lookedAt += int64(t.Info.NumAckPending)
		}
	}
	j.lookedAt = cmp.Or(j.lookedAt, int64(len(f.Hands)))
	for i := range f.Hands {
		h := &f.Hands[i]
		if h.Served && !h.Asked { // it waits for a slot or a permit, as what is ready does
			continue
		}
		text := "no worker says that it runs it, workers ask for jobs, and it is not handed out again"
		if !h.Served {
			text = "no worker serves it, so it is not handed out again"
		}
		j.find(fmt.Sprintf("%s/%s %d", h.Queue, h.Type, h.Seq), fmt.Sprintf("%s/%s/%s was handed out (message %d): %s", h.Queue, h.Type, h.ID, h.Seq, text), h, h.Seq)
	}
	return j
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05") }
