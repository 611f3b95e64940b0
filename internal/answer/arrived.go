package answer

import (
	"time"

	"github.com/millhand/millhand/internal/tally"
)

// arrived returns how many jobs a second came into each queue, "" being all: by how far the sequence of its
// stream went between the first and the last look of those who sum up, without the messages that carry jobs
// on and those that the broker made ready when their time came. A queue is left out that was not looked at
// twice, or whose stream was made again.
func arrived(series *tally.Series) map[string]float64 {
	first, last := looks(series)
	rates := make(map[string]float64)
	for name, from := range first {
		to := last[name]
		if to.step == from.step || to.seq < from.seq {
			continue
		}
		came := max(float64(to.seq-from.seq)-float64(ours(series, name, from.step+1, to.step+1)), 0)
		rates[name] = came / (time.Duration(to.step-from.step) * series.Step).Seconds()
		rates[""] += rates[name]
	}
	return rates
}

// A look is how far a stream was at the end of a step.
type look struct {
	step int
	seq  uint64
}

// looks returns the first and the last look at each queue.
func looks(series *tally.Series) (first, last map[string]look) {
	first, last = make(map[string]look), make(map[string]look)
	for i, b := range series.Backlog {
		if b == nil {
			continue
		}
		for name, q := range b.Queues {
			if q.LastSeq == 0 {
				continue
			}
			last[name] = look{i, q.LastSeq}
			if _, ok := first[name]; !ok {
				first[name] = last[name]
			}
		}
	}
	return first, last
}

// ours counts the messages of a queue that nobody enqueued, in the steps from one to before another.
func ours(series *tally.Series, queue string, from, to int) (n uint64) {
	for _, l := range series.Lines {
		if l.Queue != queue {
			continue
		}
		for _, p := range l.Points[from:to] {
			if p.Counts != nil {
				n += p.N[tally.Successors] + p.N[tally.Fired]
			}
		}
	}
	return n
}
