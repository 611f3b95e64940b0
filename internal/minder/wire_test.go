//go:build unix

package minder

import (
	"testing"
	"time"
	"unsafe"
)

// suspended is t as a machine sees it that was suspended for d: the wall clock went on,
// the monotonic one did not.
func suspended(t time.Time, d time.Duration) time.Time {
	t = t.Add(d)
	(*struct { // the layout of time.Time
		wall uint64
		mono int64
		loc  *time.Location
	})(unsafe.Pointer(&t)).mono -= int64(d)
	return t
}

func TestLeftGoesByTheClockFurtherOn(t *testing.T) {
	now := time.Now()
	until := now.Add(time.Minute)
	for _, tt := range []struct {
		name string
		now  time.Time
		want time.Duration
	}{
		{"both agree", now.Add(10 * time.Second), 50 * time.Second},
		{"machine was suspended", suspended(now, time.Hour), time.Minute - time.Hour},
		{"wall clock set back", suspended(now.Add(40*time.Second), -time.Hour), 20 * time.Second},
	} {
		if got := left(until, tt.now); got != tt.want {
			t.Errorf("%s: left = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestLeaseThatWaitedIsShorter(t *testing.T) {
	now := time.Now()
	l := newLease(now.Add(10*time.Second), now)
	for _, tt := range []struct {
		waited, want time.Duration
	}{
		{0, 10 * time.Second},
		{4 * time.Second, 6 * time.Second},
		{time.Minute, -50 * time.Second},
		{-time.Hour, 10 * time.Second}, // the clock was set back meanwhile
	} {
		got := now.Add(tt.waited)
		if left := left(l.end(got), got); left != tt.want {
			t.Errorf("after %v: left = %v, want %v", tt.waited, left, tt.want)
		}
	}
	if l := newLease(time.Time{}, now); l.Left != unlimited {
		t.Errorf("without a deadline: left = %v", l.Left)
	}
}

func TestSilenceLeavesOutFrozenTime(t *testing.T) {
	now := time.Now()
	s := silence{heard: now}
	now = now.Add(time.Hour)
	if s.tooLong(now) {
		t.Fatal("an hour in which nobody looked counts as silence")
	}
	looks := 1
	for ; !s.tooLong(now); looks++ {
		now = now.Add(longestBeat)
	}
	if got, want := looks, int(answerWithin/longestBeat); got < want-1 || got > want+1 {
		t.Errorf("too long after %d looks, want about %d", got, want)
	}
}
