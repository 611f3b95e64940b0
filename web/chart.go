package web

import (
	"time"

	"github.com/millhand/millhand/internal/tally"
)

// A chart is numbers over time. It is drawn from the table that stands beside it, which says the same to
// whoever sees no pictures.
type chart struct {
	ID      string
	Title   string
	Unit    string // "per second", "seconds" or "jobs"
	Log     bool   // its axis is logarithmic: the numbers differ by orders of magnitude
	Series  []series
	Rows    []chartRow
	Summary string // a sentence, as its label
}

type series struct {
	Name  string
	Color string // a name that the style sheet knows
}

type chartRow struct {
	At     time.Time
	Values []*float64 // one for each series; nil: none was measured
}

// spans are how far back charts go.
func spans() []struct {
	Name string
	For  time.Duration
} {
	const day = 24 * time.Hour
	return []struct {
		Name string
		For  time.Duration
	}{{"10m", 10 * time.Minute}, {"1h", time.Hour}, {"6h", 6 * time.Hour}, {"24h", day}, {"8d", 8 * day}, {"100d", 100 * day}}
}

// over is how many steps of a history were over when it was read, with all that was counted in them. The
// one that is not would look as if less had happened.
func over(s *history) int {
	return min(s.Steps(), max(0, int(s.at.Sub(s.From.Add(countedAfter))/s.Step)))
}

// countedAfter is how long after a step all workers have written what they counted in it: they do that
// within two seconds.
const countedAfter = 5 * time.Second

// rows makes a row of each step that is over.
func rows(s *history, line *tally.Line, values func(i int, c *tally.Counts) []*float64) (all []chartRow) {
	for i := range over(s) {
		var c *tally.Counts
		if line != nil {
			c = line.Points[i].Counts
		}
		all = append(all, chartRow{At: s.At(i), Values: values(i, c)})
	}
	return all
}

func lineOf(s *history, p tally.Pair) *tally.Line {
	for _, l := range s.Lines {
		if l.Pair == p {
			return l
		}
	}
	return nil
}

// endsChart is what ended and failed over time.
func endsChart(s *history, p tally.Pair) *chart {
	c := &chart{ID: "chart-ends", Title: "Ended and failed", Unit: "per second", Series: []series{{"ended", "ok"}, {"failed", "error"}}}
	c.Rows = rows(s, lineOf(s, p), func(_ int, n *tally.Counts) []*float64 {
		ended, failed := 0.0, 0.0
		if n != nil {
			step := s.Step.Seconds()
			ended, failed = float64(n.Ended())/step, float64(n.N[tally.Retrying]+n.N[tally.Dead])/step
		}
		return []*float64{&ended, &failed}
	})
	c.Summary = "Jobs that ended, and runs that failed, per second. Highest: " + perSecond(c.most(0)) + " ended, " + perSecond(c.most(1)) + " failed."
	return c
}

// timesChart is how long jobs waited and ran over time.
func timesChart(s *history, p tally.Pair) *chart {
	c := &chart{ID: "chart-times", Title: "Wait and run", Unit: "seconds", Log: true, Series: []series{
		{"wait p50", "wait"}, {"wait p95", "wait-high"}, {"run p50", "run"}, {"run p95", "run-high"},
	}}
	c.Rows = rows(s, lineOf(s, p), func(_ int, n *tally.Counts) []*float64 {
		at := func(m tally.Measure, q float64) *float64 {
			if d, ok := quantile(n, m, q); ok {
				seconds := d.Seconds()
				return &seconds
			}
			return nil
		}
		return []*float64{at(tally.Wait, 0.5), at(tally.Wait, 0.95), at(tally.Run, 0.5), at(tally.Run, 0.95)}
	})
	c.Summary = "How long jobs waited and ran; half of them at most p50, 95 of 100 at most p95."
	return c
}

// backlogChart is how many jobs were ready over time, of a queue or of all.
func backlogChart(s *history, queue string) *chart {
	c := &chart{ID: "chart-backlog", Title: "Backlog", Unit: "jobs", Series: []series{{"ready", "info"}, {"in hand", "run"}}}
	c.Rows = rows(s, nil, func(i int, _ *tally.Counts) []*float64 {
		b := s.Backlog[i]
		if b == nil || b.Samples == 0 {
			return []*float64{nil, nil}
		}
		ready, hand := 0.0, 0.0
		for name, q := range b.Queues {
			if queue != "" && name != queue {
				continue
			}
			for _, t := range q.Types {
				ready += t.Ready.Mean(b.Samples)
				hand += t.InHand.Mean(b.Samples)
			}
		}
		return []*float64{&ready, &hand}
	})
	c.Summary = "Jobs that were ready, and in the hands of workers. Highest: " + perSecond(c.most(0)) + " ready."
	return c
}

// most is the highest number of a series.
func (c *chart) most(i int) (n float64) {
	for _, r := range c.Rows {
		if r.Values[i] != nil {
			n = max(n, *r.Values[i])
		}
	}
	return n
}

// empty reports whether nothing was counted.
func (c *chart) empty() bool {
	for i := range c.Series {
		if c.most(i) > 0 {
			return false
		}
	}
	return true
}

// Empty is empty, for templates.
func (c *chart) Empty() bool { return c.empty() }

// spark are the ends of a queue or type, step by step.
func spark(s *history, p tally.Pair) (all []float64) {
	l := lineOf(s, p)
	if l == nil {
		return nil
	}
	for _, point := range l.Points[:over(s)] {
		n := 0.0
		if point.Counts != nil {
			n = float64(point.Ended())
		}
		all = append(all, n)
	}
	return all
}
