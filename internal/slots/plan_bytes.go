package slots

import (
	"math"
	"runtime/debug"
)

// Bounds in bytes. The broker cuts off a connection for which 64 MiB wait.
const (
	maxFlight    = 32 << 20 // asked for and not come yet
	maxPullBytes = 16 << 20 // of one pull request for more than one job
	minPullBytes = 1 << 20
	pullSlack    = 4 // times what its jobs are thought to have
	sizeMemory   = 8 // deliveries after which a large job is half forgotten
)

// A budget bounds bytes as slots bound jobs; 0 is no bound. A job that is larger than the bound is
// asked for alone. The size of a job is a guess until it comes; the pull request has a limit of its
// own, in case the guess is wrong.
type budget struct {
	flight int // asked for and not come yet; for jobs asked for ahead of free slots, those in hand count as well
	hand   int // in hand
}

// Parts of the memory that Go may use, if that is limited.
const (
	eighth    = 8
	quarter   = 4
	unlimited = 1 << 50 // or more
)

// PartOfMemory returns most, or an eighth of the memory if that is less.
func PartOfMemory(most int) int {
	if limit := debug.SetMemoryLimit(-1); limit < unlimited {
		return min(most, max(int(limit/eighth), 1))
	}
	return most
}

// newBudget returns the budget of this process.
func newBudget() budget {
	b := budget{flight: PartOfMemory(maxFlight)}
	if limit := debug.SetMemoryLimit(-1); limit < unlimited {
		b.hand = max(int(limit/quarter), 1)
	}
	return b
}

// A purse is what is left of a budget while a plan is made.
type purse struct {
	flight, hand, spare int
	coming, inHand      bool // there is some
}

// stay says where a job will be when it comes.
type stay uint8

const (
	inSlots stay = iota
	beforeSlots
)

// purse returns what is left of b while so many bytes come and are in hand.
func (b budget) purse(coming, inHand int) purse {
	p := purse{flight: math.MaxInt, hand: math.MaxInt, spare: math.MaxInt, coming: coming > 0, inHand: inHand > 0}
	if b.flight > 0 {
		p.flight = max(b.flight-coming, 0)
		p.spare = max(b.flight-coming-inHand, 0)
	}
	if b.hand > 0 {
		p.hand = max(b.hand-coming-inHand, 0)
	}
	return p
}

// fits returns how many of k jobs of so many bytes may be asked for.
func (p *purse) fits(k, size int, where stay) int {
	if size <= 0 {
		return k
	}
	if bytes := k * size; bytes <= p.flight && bytes <= p.hand && where == inSlots {
		return k // nearly always
	}
	n := min(k, p.flight/size, p.hand/size)
	switch {
	case where == beforeSlots:
		return min(n, p.spare/size)
	case n == 0 && !p.coming && (!p.inHand || p.hand >= size):
		return min(k, 1) // it is larger than what there ever is
	}
	return n
}

// take is fits for jobs that are asked for.
func (p *purse) take(k, size int, where stay) int {
	n := p.fits(k, size, where)
	spent := n * size
	p.flight, p.hand, p.spare = max(p.flight-spent, 0), max(p.hand-spent, 0), max(p.spare-spent, 0)
	p.coming = p.coming || spent > 0
	return n
}

// weigh notes the bytes of jobs that were delivered: all of them, and the largest.
func (d *demand) weigh(s *Source, bytes, largest int) {
	d.bytes += bytes
	s.size = max(largest, s.size-s.size/sizeMemory)
}

// pullBytes is the limit of a pull request for what s is asked for, 0 for none. A single job comes
// whatever its size.
func (d *demand) pullBytes(s *Source) int {
	if s.asked <= 1 {
		return 0
	}
	limit := maxPullBytes
	if d.budget.flight > 0 {
		limit = min(limit, d.budget.flight)
	}
	if s.size == 0 {
		return limit
	}
	return min(max(pullSlack*s.asked*s.size, minPullBytes), limit)
}
