package verify

import (
	"fmt"
	"time"
)

func progressChecks() []Check {
	return []Check{
		{
			ID: "Q01", Class: Progress, needs: []fact{ofLate}, judge: whatCanRunRuns,
			Invariant: "what is ready has a worker, and is handed out where workers ask; what is due becomes ready",
			Advice:    "start a worker that serves the type ('millhand workers' shows who serves what); if one asks and gets nothing, restart the broker that leads the queue's stream",
		},
		{
			ID: "Q02", Class: Progress, needs: []fact{ofCrons}, judge: ticksCome,
			Invariant: "each entry of the schedule is as far as the time",
			Advice:    "any worker enqueues what is due: see its log; 'millhand cron' shows the entries",
		},
	}
}

// whatCanRunRuns is Q01.
func whatCanRunRuns(f *Facts) judgement {
	j := judgement{what: "types", why: "no type, and nothing that is overdue"}
	for i := range f.Snapshot.Queues {
		q := &f.Snapshot.Queues[i]
		for k := range q.Types {
			t := &q.Types[k]
			j.lookedAt++
			switch {
			case !t.Ready.Known() || t.Ready.Value == 0:
			case t.Workers == 0:
				j.find(fmt.Sprintf("%s/%s unserved", q.Name, t.Name), fmt.Sprintf("%d jobs of type %s in queue %s: no worker serves it", t.Ready.Value, t.Name, q.Name), typeFacts(t.Ready.Value, t.Workers, t.Pulls, t.Delivered))
			case q.Paused == nil && t.Consumer && t.Pulls > 0:
				j.find(fmt.Sprintf("%s/%s stuck %d", q.Name, t.Name, t.Delivered), fmt.Sprintf("%d jobs of type %s in queue %s: %d requests of workers wait, and none is handed out after message %d", t.Ready.Value, t.Name, q.Name, t.Pulls, t.Delivered), typeFacts(t.Ready.Value, t.Workers, t.Pulls, t.Delivered), t.Delivered)
			}
		}
	}
	for i := range f.Orphans {
		o := &f.Orphans[i]
		j.lookedAt++
		j.find(fmt.Sprintf("%s/%s unserved", o.Queue, o.Type), fmt.Sprintf("%d jobs or more of type %s in queue %s: no worker has ever served it", o.Seen, o.Type, o.Queue), o, o.First)
	}
	for i := range f.Late {
		w := &f.Late[i]
		j.lookedAt++
		j.find(fmt.Sprintf("%s/%s/%s %d", w.Queue, w.Type, w.ID, w.Seq), fmt.Sprintf("%s/%s/%s was due %v ago and is not ready (message %d)", w.Queue, w.Type, w.ID, f.Snapshot.At.Sub(w.RunAt).Round(time.Second), w.Seq), w, w.Seq)
	}
	return j
}

func typeFacts(ready int64, workers, pulls int, delivered uint64) any {
	return map[string]any{"ready": ready, "workers": workers, "pulls": pulls, "delivered_seq": delivered}
}

// tickLate is how late a tick may be enqueued.
const tickLate = 2 * time.Minute

// ticksCome is Q02.
func ticksCome(f *Facts) judgement {
	if len(f.Crons) == 0 {
		return skip("no entry of a schedule")
	}
	if len(f.Snapshot.Workers) == 0 {
		return skip("no worker that could enqueue ticks")
	}
	j := judgement{lookedAt: int64(len(f.Crons)), what: "schedules"}
	for i := range f.Crons {
		c := &f.Crons[i]
		at, first, ok := c.Wake(c.Cursor)
		if ok && c.Now.Sub(at) > tickLate && c.Now.Sub(first) > tickLate {
			j.find(fmt.Sprintf("%s %d %v", c.Name, c.Rev, first), fmt.Sprintf("%s: its tick of %s was not enqueued", c.Name, first.UTC().Format(time.RFC3339)), map[string]any{"entry": c.Name, "revision": c.Rev, "cursor": c.Cursor})
		}
	}
	return j
}
