package queue

import (
	"testing"
	"testing/synctest"
	"time"
)

// What a puller does about its consumer, event by event.
func TestWatch(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	type step struct {
		event watchEvent
		want  watchAction
	}
	expired := func(want watchAction) step { return step{watchEvent{what: requestExpired, at: start}, want} }
	polled := func(waiting bool, want watchAction) step {
		return step{watchEvent{what: backlogPolled, waiting: waiting}, want}
	}
	came := func(d time.Duration, repeated bool, want watchAction) step {
		return step{watchEvent{what: jobsCame, at: at(d), repeated: repeated}, want}
	}
	starved := func(asks int, want watchAction) step {
		return step{watchEvent{what: timePassed, at: start, starved: true, asks: asks}, want}
	}
	busy := func(d time.Duration, want watchAction) step {
		return step{watchEvent{what: timePassed, at: at(d), busy: true, lease: 30 * time.Second}, want}
	}
	seen := func(d time.Duration) step { return step{watchEvent{what: consumerSeen, at: at(d)}, carryOn} }
	for name, steps := range map[string][]step{
		"one request that expires proves nothing":    {expired(carryOn)},
		"two have the backlog polled, over and over": {expired(carryOn), expired(pollBacklog), polled(false, carryOn), expired(carryOn), expired(pollBacklog)},
		"jobs that wait twice stand for a subscription that has stopped": {
			expired(carryOn), expired(pollBacklog), polled(true, carryOn), expired(pollBacklog), polled(true, resubscribe), expired(carryOn),
		},
		"jobs that do not wait any more do not":       {expired(carryOn), expired(pollBacklog), polled(true, carryOn), expired(pollBacklog), polled(false, carryOn), expired(carryOn)},
		"a job that comes is proof of the contrary":   {expired(carryOn), expired(pollBacklog), polled(true, carryOn), came(0, false, carryOn), expired(carryOn)},
		"repeated jobs have the leases polled":        {seen(0), came(time.Second, true, pollLeases)},
		"but not all the time":                        {seen(0), came(time.Second-1, true, carryOn), came(time.Second, true, pollLeases), came(time.Second+1, true, carryOn)},
		"who has never pulled polls at once":          {starved(0, pollPermits), starved(0, pollPermits)},
		"who was starved before and asked for naught": {starved(3, carryOn), starved(3, pollPermits), starved(3, pollPermits)},
		"who could ask meanwhile waits":               {starved(3, carryOn), starved(4, carryOn), starved(4, pollPermits)},
		"leases are polled at a third":                {seen(0), busy(10*time.Second-1, carryOn), busy(10*time.Second, pollLeases), busy(10*time.Second+1, carryOn)},
		"who was seen lately has time":                {seen(5 * time.Second), busy(10*time.Second, carryOn), busy(15*time.Second, pollLeases)},
	} {
		w := watch{polled: start}
		for i, s := range steps {
			if got := w.next(s.event); got != s.want {
				t.Errorf("%s: step %d: %v after %+v, want %v", name, i+1, got, s.event, s.want)
			}
		}
	}
}

// Pullers that are not starved wake up at the same moments, however far apart they began.
func TestPollTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pause := func() time.Duration { return new(watch).pause(time.Now()) }
		time.Sleep(300 * time.Millisecond)
		first := time.Now().Add(pause())
		time.Sleep(1500 * time.Millisecond)
		if second := time.Now().Add(pause()); !second.Equal(first) {
			t.Errorf("one at %v, the other at %v", first, second)
		}
		time.Sleep(time.Until(first))
		if got := pause(); got != pollPause {
			t.Errorf("the next after %v, want %v", got, pollPause)
		}
	})
}

// The starved ask the broker, and so at moments of their own.
func TestStarvedPollApart(t *testing.T) {
	pauses := make(map[time.Duration]bool)
	for range 100 {
		pause := (&watch{starved: true}).pause(time.Now())
		if pause < pollPause || pause >= pollPause+pollPause/2 {
			t.Fatalf("next after %v", pause)
		}
		pauses[pause] = true
	}
	if len(pauses) < 90 {
		t.Errorf("%d different pauses of 100", len(pauses))
	}
}
