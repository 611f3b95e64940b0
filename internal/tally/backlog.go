package tally

import (
	"encoding/json"
	"fmt"
	"time"
)

// A Backlog is what waited and who worked at a moment, or at several moments.
type Backlog struct {
	Samples int                      `json:"samples"` // moments
	Queues  map[string]*QueueBacklog `json:"queues,omitempty"`
	Dead    Gauge                    `json:"dead,omitzero"`
	Workers Gauge                    `json:"workers,omitzero"`
	Slots   Gauge                    `json:"slots,omitzero"`
	Used    Gauge                    `json:"slots_used,omitzero"`

	Signs []Sign `json:"signs,omitempty"` // of problems, at the moment of a minute: sums of backlogs have none
}

// of is what waited of some types in queues. Who worked, and what is dead, is of all together, and left out.
func (b *Backlog) of(keep func(Pair) bool) *Backlog {
	out := &Backlog{Samples: b.Samples, Queues: make(map[string]*QueueBacklog)}
	for queue, q := range b.Queues {
		kept := &QueueBacklog{Types: make(map[string]*TypeBacklog)}
		for typ, t := range q.Types {
			if keep(Pair{Queue: queue, Type: typ}) {
				kept.Types[typ] = t
			}
		}
		if len(kept.Types) > 0 {
			out.Queues[queue] = kept
		}
	}
	return out
}

// A Sign is something that is a problem, or will be if it lasts.
type Sign struct {
	Code    string    `json:"code"`
	Subject string    `json:"subject,omitempty"`
	Since   time.Time `json:"since"`             // from then on it was there whenever somebody looked
	Problem bool      `json:"problem,omitempty"` // it has lasted for long enough to be one
	Told    time.Time `json:"told_at,omitzero"`  // when somebody was last told that it is one, or that it is over; zero: nobody was
	ToldEnd bool      `json:"told_end,omitzero"` // it was its end that they were told
	Gone    time.Time `json:"gone_at,omitzero"`  // since when it is not there any more; zero: it is. One that was told is noted for a while
}

// A QueueBacklog is that of a queue.
type QueueBacklog struct {
	Messages Gauge                   `json:"messages,omitzero"`
	Bytes    Gauge                   `json:"bytes,omitzero"`
	LastSeq  uint64                  `json:"last_seq,omitempty"` // of its stream, at the last moment
	Types    map[string]*TypeBacklog `json:"types,omitempty"`
}

// A TypeBacklog is that of a type in a queue.
type TypeBacklog struct {
	Ready  Gauge `json:"ready,omitzero"`
	InHand Gauge `json:"in_hand,omitzero"`
	Oldest Gauge `json:"oldest_ready_s,omitzero"` // age of the oldest ready job, seconds
}

// A Gauge is a number that goes up and down: the sum of its samples, for their mean, and the highest.
// In JSON it is one number if both are the same, and else both.
type Gauge struct{ Sum, Max uint64 }

// One is the gauge of one sample.
func One(n uint64) Gauge { return Gauge{n, n} }

func (g *Gauge) add(o Gauge) { g.Sum, g.Max = g.Sum+o.Sum, max(g.Max, o.Max) }

// IsZero reports whether all samples were 0.
func (g *Gauge) IsZero() bool { return g.Max == 0 }

// Mean returns the mean of so many samples; 0 of none.
func (g *Gauge) Mean(samples int) float64 {
	if samples <= 0 {
		return 0
	}
	return float64(g.Sum) / float64(samples)
}

// MarshalJSON implements [json.Marshaler].
func (g *Gauge) MarshalJSON() ([]byte, error) {
	if g.Sum == g.Max {
		return json.Marshal(g.Sum)
	}
	return json.Marshal([]uint64{g.Sum, g.Max})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (g *Gauge) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '[' {
		var n uint64
		if err := json.Unmarshal(b, &n); err != nil {
			return err
		}
		*g = One(n)
		return nil
	}
	var both []uint64
	if err := json.Unmarshal(b, &both); err != nil {
		return err
	}
	if len(both) != 2 {
		return fmt.Errorf("gauge: %d numbers, not a sum and the highest", len(both))
	}
	*g = Gauge{both[0], both[1]}
	return nil
}

// Add adds the moments of o.
func (b *Backlog) Add(o *Backlog) {
	if o == nil {
		return
	}
	b.Samples += o.Samples
	b.Dead.add(o.Dead)
	b.Workers.add(o.Workers)
	b.Slots.add(o.Slots)
	b.Used.add(o.Used)
	if b.Queues == nil {
		b.Queues = make(map[string]*QueueBacklog)
	}
	for name, q := range o.Queues {
		mine := b.Queues[name]
		if mine == nil {
			mine = &QueueBacklog{Types: make(map[string]*TypeBacklog)}
			b.Queues[name] = mine
		}
		mine.Messages.add(q.Messages)
		mine.Bytes.add(q.Bytes)
		mine.LastSeq = max(mine.LastSeq, q.LastSeq)
		for typ, t := range q.Types {
			if mine.Types[typ] == nil {
				mine.Types[typ] = new(TypeBacklog)
			}
			mine.Types[typ].Ready.add(t.Ready)
			mine.Types[typ].InHand.add(t.InHand)
			mine.Types[typ].Oldest.add(t.Oldest)
		}
	}
}
