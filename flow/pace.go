package flow

import "time"

// How many events travel at once, unless Demand says otherwise.
const (
	maxDelivery = 500

	quick = time.Millisecond      // a delivery that takes less: the next may be twice as large
	slow  = 10 * time.Millisecond // one that takes more: half as large
)

// pace is how many events a goroutine takes, or hands on, at once. It begins with one, so that few
// large ones are shared out, and grows while they are quickly dealt with.
type pace struct {
	n     int
	fixed bool
	since time.Time
}

func newPace(demand int) pace {
	if demand > 0 {
		return pace{n: demand, fixed: true}
	}
	return pace{n: 1}
}

// begin starts the clock for a delivery.
func (p *pace) begin() {
	if !p.fixed {
		p.since = time.Now()
	}
}

// next takes note that a delivery is dealt with, and begins the next.
func (p *pace) next() {
	if p.fixed {
		return
	}
	now := time.Now()
	switch took := now.Sub(p.since); {
	case took < quick:
		p.n = min(2*p.n, maxDelivery)
	case took > slow:
		p.n = max(p.n/2, 1)
	}
	p.since = now
}
