package queue

import (
	"math/rand/v2"
	"time"
)

// A watch finds out when a puller has to ask the broker about its consumer, and when to subscribe
// again. It is pure: [watch.next] is told what happened and says what to do.
//
// There are three reasons to ask. All leases hang on the consumer, and whoever removes it, makes it
// again or changes its lease tells nobody. A worker without permits needs some if jobs wait, and
// learns of these in no other way. And a subscription may have stopped delivering: its standing
// requests expire although jobs wait. Jobs that come just after one expired prove nothing, so that
// takes two.
type watch struct {
	polled  time.Time // when the broker was asked last
	empty   int       // standing requests in a row that expired without a job
	stalled int       // and those at whose end jobs were waiting
	starved bool      // nothing could be asked for, for want of a permit
	asks    int       // of the source, then
}

const (
	pollFirst   = 250 * time.Millisecond // once a newcomer had time to get a permit
	pollPause   = 2 * time.Second
	pollWithin  = time.Second // for the broker's answer
	pollRepeats = time.Second // between polls that deliveries give reason for

	emptyBeforePoll     = 2 // standing requests
	stalledBeforeReopen = 2
)

// watchEvent is what a watch is told. Which fields count depends on what happened.
type watchEvent struct {
	what watched
	at   time.Time

	repeated bool          // jobsCame: one of them has been handed out before, or may have been
	waiting  bool          // backlogPolled: jobs wait that may start
	starved  bool          // timePassed: nothing can be asked for, for want of a permit
	asks     int           // timePassed: of the source, so far
	busy     bool          // timePassed: jobs are in hand
	lease    time.Duration // timePassed: of these
}

// watched is what happened.
type watched uint8

const (
	consumerSeen   watched = iota // the broker described it
	jobsCame                      // in answer to a request
	requestExpired                // a standing one, without a job
	backlogPolled                 // as told by pollBacklog
	timePassed                    // as much as watch.pause says
)

// watchAction is what is to be done.
type watchAction uint8

const (
	carryOn watchAction = iota
	pollLeases
	pollPermits // tell the source how many jobs wait
	pollBacklog // tell the watch whether jobs wait, by backlogPolled
	resubscribe
)

// next takes in an event and returns what is to be done.
func (w *watch) next(e watchEvent) watchAction {
	switch e.what {
	case consumerSeen:
		w.polled = e.at
	case jobsCame:
		w.empty, w.stalled = 0, 0
		if e.repeated && e.at.Sub(w.polled) >= pollRepeats {
			return w.poll(pollLeases, e.at)
		}
	case requestExpired:
		w.empty++
		if w.empty >= emptyBeforePoll || w.stalled > 0 {
			w.empty = 0
			return w.poll(pollBacklog, e.at)
		}
	case backlogPolled:
		if w.stalled++; !e.waiting {
			w.stalled = 0
		}
		if w.stalled >= stalledBeforeReopen {
			w.stalled = 0
			return resubscribe
		}
	case timePassed:
		again := e.starved && (w.starved && e.asks == w.asks || e.asks == 0) // of 0: it never pulled
		w.starved, w.asks = e.starved, e.asks
		switch {
		case again:
			return w.poll(pollPermits, e.at)
		case e.busy && e.at.Sub(w.polled) >= e.lease/3:
			return w.poll(pollLeases, e.at)
		}
	}
	return carryOn
}

func (w *watch) poll(why watchAction, at time.Time) watchAction {
	w.polled = at
	return why
}

// pause returns how long it is until time has passed: for those who are starved, and ask the
// broker, it differs; for the others it ends at the same moment, since what an idle worker costs is
// how often it wakes up.
func (w *watch) pause(now time.Time) time.Duration {
	if w.starved {
		return pollPause + rand.N(pollPause/2)
	}
	return now.Truncate(pollPause).Add(pollPause).Sub(now)
}
