package stream

import "time"

// sequencesPerSecond is how fast the first sequence of a new stream grows with the time at
// which it is made. No stream stores messages as fast, so one that is made after another was
// lost begins behind whatever the lost one had given out.
const sequencesPerSecond = 1 << 20

// epoch is when a new stream would begin at 1. Counted from it, sequences stay below 2^53 until
// the year 2272, so that they are exact as numbers of JSON.
func epoch() time.Time { return time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC) }

// firstSequence is where a stream begins that is made now. Acks, conditions, events and
// readers all name messages by their sequences alone: if a stream that is made again gave out
// the same ones again, what speaks of a lost message would be taken for another.
func firstSequence(now time.Time) uint64 {
	since := now.Sub(epoch())
	if since < 0 { // a clock that was never set
		return 1
	}
	whole, rest := since/time.Second, since%time.Second
	return 1 + uint64(whole)*sequencesPerSecond + uint64(rest)*sequencesPerSecond/uint64(time.Second)
}
