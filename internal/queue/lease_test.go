package queue

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/modeltest"
	"github.com/millhand/millhand/internal/slots"
)

const testWait = 30 * time.Second

func TestLeaseEndsBeforeTheBrokersDoes(t *testing.T) {
	start := time.Now()
	tests := []struct {
		name string
		now  time.Time
		lost bool
	}{
		{"fresh", start, false},
		{"just before the margin", start.Add(27*time.Second - 1), false},
		{"at the margin", start.Add(27 * time.Second), true},
		{"the broker's lease is over", start.Add(testWait), true},
		{"suspended for an hour", modeltest.Suspended(start.Add(time.Second), time.Hour), true},
		{"clock set back by an hour, lease over", modeltest.Suspended(start.Add(testWait), -time.Hour), true},
		{"clock set back by an hour, lease good", modeltest.Suspended(start.Add(time.Second), -time.Hour), false},
	}
	for _, tt := range tests {
		err := newLease(testWait, start).check(tt.now)
		if lost := errors.Is(err, ErrLeaseLost); lost != tt.lost || (err == nil) == tt.lost {
			t.Errorf("%s: check = %v, want lost %t", tt.name, err, tt.lost)
		}
	}
}

// A renewal counts from when it was sent, and none revives a lost lease.
func TestLeaseRenewal(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	l := newLease(testWait, start)
	l.renewed(at(10), at(12))
	if err := l.check(at(36)); err != nil {
		t.Errorf("26 s after a renewal was sent: %v", err)
	}
	if got, want := l.until(), at(37); !got.Equal(want) {
		t.Errorf("until = %v, want %v", got, want)
	}
	l.renewed(at(5), at(13)) // an older one, confirmed late
	if got, want := l.until(), at(37); !got.Equal(want) {
		t.Errorf("until = %v after a stale confirmation, want %v", got, want)
	}
	l.renewed(at(30), at(38)) // sent in time, confirmed when the lease was over
	if l.check(at(38)) == nil {
		t.Error("a confirmation that came too late renewed the lease")
	}
	l.renewed(at(39), at(39))
	if l.check(at(39)) == nil {
		t.Error("a lost lease came back")
	}
	if l.due(at(100)) {
		t.Error("a lost lease wants to be renewed")
	}
}

func TestLeaseIsDueAfterAThird(t *testing.T) {
	start := time.Now()
	for _, tt := range []struct {
		now  time.Time
		want bool
	}{
		{start, false},
		{start.Add(10*time.Second - 1), false},
		{start.Add(10 * time.Second), true},
		{modeltest.Suspended(start, 10*time.Second), true},
	} {
		l := newLease(testWait, start)
		if !l.due(tt.now) {
			t.Errorf("not due after %v though it was never renewed", slots.Elapsed(start, tt.now))
		}
		l.renewed(start, start)
		if got := l.due(tt.now); got != tt.want {
			t.Errorf("due after %v: %t", slots.Elapsed(start, tt.now), got)
		}
	}
}

// A broker that restarts hands a job out up to a second early: by then its holder has
// given up, unless AckWait is so short that nothing would be left of it.
func TestMarginCoversTheBrokersRounding(t *testing.T) {
	for ackWait, want := range map[time.Duration]time.Duration{
		time.Minute: 6 * time.Second, testWait: 3 * time.Second, 6 * time.Second: 1100 * time.Millisecond,
		3300 * time.Millisecond: 1100 * time.Millisecond, 300 * time.Millisecond: 100 * time.Millisecond,
	} {
		if got := margin(ackWait); got != want {
			t.Errorf("margin(%v) = %v, want %v", ackWait, got, want)
		}
	}
}

func TestLeaseTellsOfItsLossOnce(t *testing.T) {
	start := time.Now()
	l := newLease(testWait, start)
	first, second := 0, 0
	l.watch(func(error) { first++ })
	l.watch(func(error) { second++ })
	for range 3 {
		_ = l.check(start.Add(time.Hour))
	}
	if first != 0 || second != 1 {
		t.Errorf("told the first watcher %d times and the second %d times, want 0 and 1", first, second)
	}
	late := 0
	l.watch(func(error) { late++ })
	if late != 1 {
		t.Errorf("told who came too late %d times, want 1", late)
	}
}

// Whatever the order of renewals and checks, a lease is never good later than AckWait less
// the margin after the last renewal that was sent and confirmed while it was good.
func TestLeaseModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Now()
		l := newLease(testWait, start)
		now, since, lost := start, start, false
		seconds := rapid.IntRange(0, 40)
		t.Repeat(map[string]func(*rapid.T){
			"time passes":  func(t *rapid.T) { now = now.Add(time.Duration(seconds.Draw(t, "s")) * time.Second) },
			"is suspended": func(t *rapid.T) { now = modeltest.Suspended(now, time.Duration(seconds.Draw(t, "s"))*time.Second) },
			"renewal is confirmed": func(t *rapid.T) {
				sent := now.Add(-time.Duration(seconds.Draw(t, "ago")) * time.Second)
				l.renewed(sent, now)
				lost = lost || slots.Elapsed(since, now) >= 27*time.Second
				if !lost && sent.After(since) {
					since = sent
				}
			},
			"": func(t *rapid.T) {
				lost = lost || slots.Elapsed(since, now) >= 27*time.Second
				if got := l.check(now) != nil; got != lost {
					t.Fatalf("lost = %t, want %t, %v after %v", got, lost, now, since)
				}
			},
		})
	})
}
