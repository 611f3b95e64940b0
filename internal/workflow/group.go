package workflow

import (
	"encoding/json"
	"maps"
	"math/bits"
)

// ShardJobs is how many jobs of a group have their bits in one document. Neighbours are together, so
// that whoever ends many writes once.
const ShardJobs = 4096

// A Layout says which job of a group is where.
type Layout struct {
	Jobs  int // of the group
	Width int // jobs of a shard; [ShardJobs]
}

// Shards returns how many shards there are.
func (l Layout) Shards() int { return (l.Jobs + l.Width - 1) / l.Width }

// Size returns how many jobs a shard has.
func (l Layout) Size(shard int) int { return max(0, min(l.Width, l.Jobs-shard*l.Width)) }

// Counts are how many jobs have ended, and how.
type Counts struct {
	Succeeded int `json:"ok"`
	Failed    int `json:"failed"`
	Skipped   int `json:"skipped"`
}

// Ended returns how many have ended.
func (c Counts) Ended() int { return c.Succeeded + c.Failed + c.Skipped }

// A Shard has the states of some jobs of a group. The zero value is one in which all are pending.
type Shard struct {
	Gen  int    `json:"gen"`
	Bits []byte `json:"bits"` // as those of a [Tally]
}

// At returns the state of a job, by its number in the shard.
func (s *Shard) At(at int) State { return states(s.Bits).at(at) }

// End returns s with the end of a job. It reports false if that had ended before.
func (s *Shard) End(at int, state State) (Shard, bool) {
	return s.EndAll([]JobEnd{{at, state}})
}

// A JobEnd is how a job of a shard has ended, by its number in it.
type JobEnd struct {
	At    int
	State State
}

// EndAll returns s with the ends of some jobs. It reports false if all had ended before.
func (s *Shard) EndAll(ends []JobEnd) (next Shard, changed bool) {
	next = *s
	for _, e := range ends {
		if next.At(e.At) != Pending {
			continue
		}
		if !changed {
			next.Bits = states(s.Bits).with(e.At, e.State)
			changed = true
			continue
		}
		if short := e.At/4 + 1 - len(next.Bits); short > 0 {
			next.Bits = append(next.Bits, make([]byte, short)...)
		}
		states(next.Bits).set(e.At, e.State)
	}
	return next, changed
}

// Retry returns s for a later generation: those that have succeeded keep that, unless all is to be done again.
func (s *Shard) Retry(gen int, all bool) Shard {
	next := Shard{Gen: gen, Bits: make([]byte, len(s.Bits))}
	for at := range 4 * len(s.Bits) {
		if s.At(at) == Succeeded && !all {
			states(next.Bits).set(at, Succeeded)
		}
	}
	return next
}

// Counts returns how many have ended.
func (s *Shard) Counts() (c Counts) {
	for _, b := range s.Bits {
		low, high := b&0x55, b>>1&0x55
		c.Succeeded += bits.OnesCount8(low &^ high)
		c.Failed += bits.OnesCount8(high &^ low)
		c.Skipped += bits.OnesCount8(high & low)
	}
	return c
}

// Encode returns s as it is stored.
func (s *Shard) Encode() []byte { return encode(s) }

// DecodeShard is the inverse of [Shard.Encode]. The error is an [*InvalidError].
func DecodeShard(data []byte) (Shard, error) {
	var s Shard
	if err := json.Unmarshal(data, &s); err != nil {
		return Shard{}, invalid("shard of a group", "", "is no JSON of one: %v", err)
	}
	if s.Gen < 1 || s.Gen > maxGen || len(s.Bits) > ShardJobs/4 {
		return Shard{}, invalid("shard of a group", "", "generation %d, %d bytes of bits: want 1 to %d, and %d at most", s.Gen, len(s.Bits), maxGen, ShardJobs/4)
	}
	return s, nil
}

// A Root is how far a group has come: which of its shards are full.
type Root struct {
	Gen    int    `json:"gen"`
	Sealed *int   `json:"sealed,omitempty"` // how many jobs there are; nil: nobody has said so
	Full   []byte `json:"full,omitempty"`   // a bit a shard, from the lowest of the first byte on
	Counts        // of the full shards

	Published int         `json:"published,omitempty"` // of the jobs, from the first on
	Failing   map[int]int `json:"failing,omitempty"`   // by shard, of a group that fails early: how many failed so far
}

// Publish returns r with so many jobs published. It reports false if it knows of as many.
func (r *Root) Publish(jobs int) (Root, bool) {
	if jobs <= r.Published {
		return *r, false
	}
	next := *r
	next.Published = jobs
	return next, true
}

// Fail returns r with how many jobs of a shard have failed so far. It reports false if it knows of as many.
func (r *Root) Fail(shard, failed int) (Root, bool) {
	if failed <= r.Failing[shard] || r.IsFull(shard) {
		return *r, false
	}
	next := *r
	next.Failing = maps.Clone(r.Failing)
	if next.Failing == nil {
		next.Failing = make(map[int]int, 1)
	}
	next.Failing[shard] = failed
	return next, true
}

// Fails reports whether more jobs than are tolerated have failed so far.
func (r *Root) Fails(tolerated int) bool {
	failed := r.Failed
	for _, n := range r.Failing {
		failed += n
	}
	return failed > tolerated
}

// Seal returns r with the number of its jobs. It reports false if it was sealed before.
func (r *Root) Seal(jobs int) (Root, bool) {
	if r.Sealed != nil {
		return *r, false
	}
	next := *r
	next.Sealed = &jobs
	return next, true
}

// Fill returns r with a shard full, of which these are the sums. It reports false if it was before.
func (r *Root) Fill(shard int, c Counts) (Root, bool) {
	if r.IsFull(shard) {
		return *r, false
	}
	next := *r
	next.Full = make([]byte, max(len(r.Full), shard/8+1))
	copy(next.Full, r.Full)
	next.Full[shard/8] |= 1 << (shard % 8)
	next.Succeeded += c.Succeeded
	next.Failed += c.Failed
	next.Skipped += c.Skipped
	next.Failing = maps.Clone(r.Failing)
	delete(next.Failing, shard)
	return next, true
}

// IsFull reports whether all jobs of a shard have ended.
func (r *Root) IsFull(shard int) bool {
	return shard/8 < len(r.Full) && r.Full[shard/8]>>(shard%8)&1 == 1
}

// End returns how the group ended, and false if it has not. More than tolerated failures are one of the
// group, and so are jobs that never came, since it was cancelled.
func (r *Root) End(width, tolerated int) (State, bool) {
	if r.Sealed == nil {
		return Pending, false
	}
	for k := range (Layout{*r.Sealed, width}).Shards() {
		if !r.IsFull(k) {
			return Pending, false
		}
	}
	if r.Failed > tolerated || r.Skipped > 0 {
		return Failed, true
	}
	return Succeeded, true
}

// Encode returns r as it is stored.
func (r *Root) Encode() []byte { return encode(r) }

// DecodeRoot is the inverse of [Root.Encode]. The error is an [*InvalidError].
func DecodeRoot(data []byte) (Root, error) {
	var r Root
	if err := json.Unmarshal(data, &r); err != nil {
		return Root{}, invalid("group", "", "is no JSON of one: %v", err)
	}
	switch {
	case r.Gen < 1 || r.Gen > maxGen:
		return Root{}, invalid("group", "", "generation %d: must be 1 to %d", r.Gen, maxGen)
	case r.Sealed != nil && (*r.Sealed < 0 || *r.Sealed > maxJobs):
		return Root{}, invalid("group", "", "has %d jobs, at most %d are allowed", *r.Sealed, maxJobs)
	case len(r.Full) > maxJobs/ShardJobs/8:
		return Root{}, invalid("group", "", "has %d bytes for its shards, at most %d are allowed", len(r.Full), maxJobs/ShardJobs/8)
	case r.Succeeded < 0 || r.Failed < 0 || r.Skipped < 0 || r.Published < 0:
		return Root{}, invalid("group", "", "counts less than no jobs")
	}
	return r, nil
}
