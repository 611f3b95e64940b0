package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/millhand/millhand"
)

// Only a lost answer leaves it open whether a job is enqueued. What the broker refused, and
// what was never sent, is not.
func TestUnanswered(t *testing.T) {
	lost := errors.New("no answer")
	full := fmt.Errorf("%w: no room", millhand.ErrStoreFull)
	lines := []entry{{number: 11}, {number: 12}, {number: 13}}
	for _, tt := range []struct {
		errs    []error
		want    string
		unknown int
	}{
		{[]error{nil, millhand.ErrDuplicate, &millhand.InvalidError{}}, "<nil>", 0},
		{[]error{&millhand.QuotaError{}, nil, nil}, "<nil>", 0},
		{[]error{nil, lost, nil}, "line 12 may or may not be enqueued, what follows it is not: no answer", 1},
		{[]error{lost, nil, lost}, "line 11 and 1 more up to line 13 may or may not be enqueued, what follows is not: no answer", 2},
		{[]error{nil, nil, full}, "line 13 is not enqueued, nor is what follows it: millhand: store full: no room", 0},
		{[]error{full, full, millhand.ErrNotSent}, "line 11 and 2 more up to line 13 are not enqueued, nor is what follows: millhand: store full: no room", 0},
		{[]error{full, lost, millhand.ErrNotSent}, "line 12 may or may not be enqueued, what follows it is not: no answer", 1},
	} {
		var b bulk
		if got := fmt.Sprint(b.unanswered(lines, tt.errs)); got != tt.want || b.unknown != tt.unknown {
			t.Errorf("unanswered(%v) = %q, %d unknown; want %q, %d", tt.errs, got, b.unknown, tt.want, tt.unknown)
		}
	}
}
