package workflow

import (
	"encoding/json"
	"slices"
)

// A State is how a step, or a job of a group, has ended.
type State uint8

// The states. The values are on the wire.
const (
	Pending State = iota
	Succeeded
	Failed  // dead or cancelled
	Skipped // it can never run
)

func (s State) String() string {
	return [...]string{"pending", "succeeded", "failed", "skipped"}[s&3]
}

// states are those of steps or jobs, two bits each, from the lowest of the first byte on. What lies
// behind the last byte is pending.
type states []byte

func (b states) at(i int) State {
	if i/4 >= len(b) {
		return Pending
	}
	return State(b[i/4]>>(i%4*2)) & 3
}

// with returns b with one state set.
func (b states) with(i int, s State) states {
	next := make(states, max(len(b), i/4+1))
	copy(next, b)
	next.set(i, s)
	return next
}

func (b states) set(i int, s State) {
	shift := i % 4 * 2
	b[i/4] = b[i/4]&^(3<<shift) | byte(s)<<shift
}

// ends reports whether nothing is set at n or behind it, and no byte is missing or too many.
func (b states) ends(n int) bool {
	if len(b) != (n+3)/4 {
		return false
	}
	for i := n; i < 4*len(b); i++ {
		if b.at(i) != Pending {
			return false
		}
	}
	return true
}

// A Tally is how far a generation of a workflow has come. The zero value is none.
type Tally struct {
	ID        string `json:"id"`
	Gen       int    `json:"gen"`
	N         int    `json:"n"` // steps
	Bits      states `json:"bits"`
	Cancelled bool   `json:"cancelled"`
	Reason    string `json:"reason,omitempty"`  // of the cancellation
	Stopped   *int   `json:"stopped,omitempty"` // the step whose failure stops the others, see [Spec.FailFast]
	Failing   []int  `json:"failing,omitempty"` // groups that have not ended, of which a job has failed that must not: they will fail
	Since     int    `json:"since,omitempty"`   // the generation in which all began anew, also what had succeeded; 0: the first
	Abandoned bool   `json:"abandoned"`         // its creator was too slow: it never begins
}

// NewTally returns the tally of a workflow that begins.
func NewTally(id string, gen, steps int) Tally {
	return Tally{ID: id, Gen: gen, N: steps, Bits: make(states, (steps+3)/4)}
}

// halts reports whether only those steps still begin that clean up behind others: a success that is still to
// come is none any more.
func (t *Tally) halts() bool { return t.Cancelled || t.Stopped != nil }

// fails reports whether a step that may be pending is certain to fail.
func (t *Tally) fails(step int) bool { return slices.Contains(t.Failing, step) }

// At returns the state of a step. One that the tally does not know yet is pending.
func (t *Tally) At(step int) State { return t.Bits.at(step) }

// Encode returns t as it is stored.
func (t *Tally) Encode() []byte { return encode(t) }

func encode(document any) []byte {
	data, err := json.Marshal(document)
	if err != nil {
		panic(err) // none of the types can fail
	}
	return data
}

// DecodeTally is the inverse of [Tally.Encode]. The error is an [*InvalidError].
func DecodeTally(data []byte) (Tally, error) {
	var t Tally
	if err := json.Unmarshal(data, &t); err != nil {
		return Tally{}, invalid("tally", "", "is no JSON of one: %v", err)
	}
	if err := CheckID(t.ID); err != nil {
		return Tally{}, err
	}
	switch {
	case t.Gen < 1 || t.Gen > maxGen:
		return Tally{}, invalid("tally", t.ID, "generation %d: must be 1 to %d", t.Gen, maxGen)
	case t.N < 0 || t.N > maxSteps:
		return Tally{}, invalid("tally", t.ID, "is of %d steps, at most %d are allowed", t.N, maxSteps)
	case t.Stopped != nil && (*t.Stopped < 0 || *t.Stopped >= t.N):
		return Tally{}, invalid("tally", t.ID, "is stopped by step %d, and there are %d, from 0", *t.Stopped, t.N)
	case t.Since < 0 || t.Since > t.Gen:
		return Tally{}, invalid("tally", t.ID, "began anew in generation %d, and is of %d", t.Since, t.Gen)
	case len(t.Failing) > t.N || slices.ContainsFunc(t.Failing, func(i int) bool { return i < 0 || i >= t.N }):
		return Tally{}, invalid("tally", t.ID, "has %d steps that fail, among them one that there is not", len(t.Failing))
	case !t.Bits.ends(t.N):
		return Tally{}, invalid("tally", t.ID, "its bits are not those of %d steps", t.N)
	}
	return t, nil
}
