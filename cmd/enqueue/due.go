package main

import (
	"fmt"
	"time"
)

const (
	manyDue       = 20_000  // within a second, from which on that is worth a note
	maxDueSeconds = 100_000 // that are counted
)

// dueTimes count the jobs that are due within each second. A broker makes what is due ready one
// after the other, and nothing else of the queue becomes ready meanwhile.
type dueTimes struct {
	perSecond map[int64]int
	most      int
}

func (d *dueTimes) add(due time.Time) {
	if due.IsZero() {
		return
	}
	if d.perSecond == nil {
		d.perSecond = make(map[int64]int)
	}
	second := due.Unix()
	n := d.perSecond[second] + 1
	if n == 1 && len(d.perSecond) == maxDueSeconds {
		return
	}
	d.perSecond[second] = n
	d.most = max(d.most, n)
}

// note is what to say of that, empty if nothing.
func (d *dueTimes) note() string {
	if d.most < manyDue {
		return ""
	}
	return fmt.Sprintf("note: %d jobs are due within the same second", d.most)
}
