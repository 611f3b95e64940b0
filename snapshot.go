package millhand

import (
	"context"
	"time"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// A Snapshot is how many jobs there are, by queue, type and state. Workers and limits are told by
// [Client.Workers] and [Client.Quotas].
type Snapshot struct {
	At      time.Time   `json:"at"`     // by the broker's clock
	Queues  []QueueInfo `json:"queues"` // sorted by name
	Dead    Count       `json:"dead"`
	Missing []string    `json:"missing,omitempty"` // what could not be read, and why
}

// A QueueInfo is how many jobs a queue has.
type QueueInfo struct {
	Name      string     `json:"name"`
	Paused    *Pause     `json:"paused,omitempty"` // nil: it is not
	Ready     Count      `json:"ready"`            // that no worker has taken, those included that nobody serves
	InHand    Count      `json:"in_hand"`          // that workers have taken
	Running   Count      `json:"running"`          // as the workers say
	Later     Count      `json:"later"`            // that wait for their time
	Scheduled Count      `json:"scheduled"`        // of those, with no failed run; unknown where there are many
	Retrying  Count      `json:"retrying"`         // of those, after a failed run; unknown where there are many
	Types     []TypeInfo `json:"types"`            // sorted by name
}

// A TypeInfo is how many jobs of a type a queue has.
type TypeInfo struct {
	Name    string `json:"name"`
	Paused  *Pause `json:"paused,omitempty"` // by itself, in this queue; nil: it is not
	Ready   Count  `json:"ready"`
	InHand  Count  `json:"in_hand"`
	Running Count  `json:"running"`
	Workers int    `json:"workers"` // that serve it in this queue and are not draining
	// OldestReady is since when the job is ready that is ready for longest; zero: none is, or it is not known.
	OldestReady time.Time `json:"oldest_ready,omitzero"`
}

// A Pause keeps workers from taking jobs.
type Pause struct {
	Since  time.Time `json:"since,omitzero"`   // zero: not known
	By     string    `json:"by,omitempty"`     // who paused it; empty: not known
	Reason string    `json:"reason,omitempty"` // what for
	Until  time.Time `json:"until,omitzero"`   // when it ends by itself; zero: never
}

// A Count is a number of jobs, and how it was got. The value means nothing if that is [CountUnknown].
type Count struct {
	Value int64     `json:"value"`
	How   CountHow  `json:"how"`
	At    time.Time `json:"at,omitzero"` // by the broker's clock; zero: not known
}

// A CountHow is how a number was got.
type CountHow string

// The ways to a number.
const (
	CountExact   CountHow = "exact"    // at its time
	CountAbout   CountHow = "about"    // put together from answers of different moments
	CountAtLeast CountHow = "at_least" // there may be more
	CountUnknown CountHow = "unknown"
)

// Snapshot returns how many jobs there are. It costs the broker the same however many that is, a few
// requests for each queue, and all who ask at the same time share one look. What does not answer within a second is
// missing from it; an error says that nothing could be read.
func (c *Client) Snapshot(ctx context.Context) (*Snapshot, error) {
	snap, err := c.view.Snapshot(ctx)
	if err != nil {
		return nil, publicError(err)
	}
	s := &Snapshot{At: snap.At, Dead: countOf(snap.Dead), Queues: make([]QueueInfo, len(snap.Queues))}
	for i := range snap.Queues {
		s.Queues[i] = queueInfoOf(&snap.Queues[i])
	}
	for _, m := range snap.Missing {
		s.Missing = append(s.Missing, m.What+": "+m.Why)
	}
	return s, nil
}

func queueInfoOf(q *view.Queue) QueueInfo {
	ready := q.Ready
	if q.Unclaimed.Known() {
		ready = ready.Plus(q.Unclaimed)
	}
	info := QueueInfo{
		Name: q.Name, Paused: pauseOf(q.Paused), Ready: countOf(ready), InHand: countOf(q.InHand), Running: countOf(q.Running),
		Later: countOf(q.Later), Scheduled: countOf(q.Scheduled), Retrying: countOf(q.Retrying), Types: make([]TypeInfo, len(q.Types)),
	}
	for i := range q.Types {
		t := &q.Types[i]
		info.Types[i] = TypeInfo{
			Name: t.Name, Paused: pauseOf(t.Paused), Ready: countOf(t.Ready), InHand: countOf(t.InHand), Running: countOf(t.Running),
			Workers: t.Workers, OldestReady: t.Oldest.At,
		}
	}
	return info
}

func pauseOf(p *registry.Pause) *Pause {
	if p == nil {
		return nil
	}
	pause := Pause(*p)
	return &pause
}

func countOf(c view.Count) Count {
	if !c.Known() {
		return Count{How: CountUnknown}
	}
	return Count{Value: c.Value, How: CountHow(c.How), At: c.At}
}
