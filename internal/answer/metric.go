package answer

import (
	"maps"
	"slices"
	"time"
)

// A Metric is one number of what ran, or of what waited, over time.
type Metric struct {
	From   time.Time     `json:"from"`
	Until  time.Time     `json:"until"`
	Step   int           `json:"step_s"` // seconds
	By     string        `json:"by"`
	Metric string        `json:"metric"`
	Lines  []*MetricLine `json:"lines"`
}

// A MetricLine is that of a type, a queue, both, or of all.
type MetricLine struct {
	Queue  string         `json:"queue,omitempty"`
	Type   string         `json:"type,omitempty"`
	Points []*MetricPoint `json:"points"` // of the steps in which there is one
}

// A MetricPoint is the number of one step.
type MetricPoint struct {
	At    time.Time `json:"at"`
	Value float64   `json:"value"`
}

// countsMetrics are those of what ran. A nil number was not measured.
func countsMetrics() map[string]func(*StatsCounts) *float64 {
	number := func(of func(*StatsCounts) uint64) func(*StatsCounts) *float64 {
		return func(c *StatsCounts) *float64 { return new(float64(of(c))) }
	}
	return map[string]func(*StatsCounts) *float64{
		"started":     number(func(c *StatsCounts) uint64 { return c.Started }),
		"succeeded":   number(func(c *StatsCounts) uint64 { return c.Succeeded }),
		"retrying":    number(func(c *StatsCounts) uint64 { return c.Retrying }),
		"dead":        number(func(c *StatsCounts) uint64 { return c.Dead }),
		"cancelled":   number(func(c *StatsCounts) uint64 { return c.Cancelled }),
		"snoozed":     number(func(c *StatsCounts) uint64 { return c.Snoozed }),
		"handed_back": number(func(c *StatsCounts) uint64 { return c.HandedBack }),
		"lost":        number(func(c *StatsCounts) uint64 { return c.Lost }),
		"busy_s":      func(c *StatsCounts) *float64 { return &c.Busy },
		"wait_p50_s":  func(c *StatsCounts) *float64 { return c.WaitP50 },
		"wait_p95_s":  func(c *StatsCounts) *float64 { return c.WaitP95 },
		"wait_p99_s":  func(c *StatsCounts) *float64 { return c.WaitP99 },
		"run_p50_s":   func(c *StatsCounts) *float64 { return c.RunP50 },
		"run_p95_s":   func(c *StatsCounts) *float64 { return c.RunP95 },
		"run_p99_s":   func(c *StatsCounts) *float64 { return c.RunP99 },
	}
}

// backlogMetrics are those of what waited and who worked, which are of all.
func backlogMetrics() map[string]func(*StatsBacklog) float64 {
	return map[string]func(*StatsBacklog) float64{
		"ready":          func(b *StatsBacklog) float64 { return b.Ready },
		"in_hand":        func(b *StatsBacklog) float64 { return b.InHand },
		"oldest_ready_s": func(b *StatsBacklog) float64 { return float64(b.Oldest) },
		"workers":        func(b *StatsBacklog) float64 { return b.Workers },
		"slots":          func(b *StatsBacklog) float64 { return b.Slots },
		"slots_used":     func(b *StatsBacklog) float64 { return b.Used },
	}
}

// Metrics are the names of all.
func Metrics() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range countsMetrics() {
			if !yield(name) {
				return
			}
		}
		maps.Keys(backlogMetrics())(yield)
	})
}

// Metric is one number of them, step by step, false if there is none of that name. Those of the backlog are one line of
// all, whatever the others are by.
func (s *Stats) Metric(name string) (*Metric, bool) {
	out := &Metric{From: s.From, Until: s.Until, Step: s.Step, By: s.By, Metric: name, Lines: []*MetricLine{}}
	if of := backlogMetrics()[name]; of != nil {
		line := &MetricLine{Points: []*MetricPoint{}}
		for _, b := range s.Backlog {
			line.Points = append(line.Points, &MetricPoint{b.At, of(b)})
		}
		out.By, out.Lines = "time", append(out.Lines, line)
		return out, true
	}
	of := countsMetrics()[name]
	if of == nil {
		return nil, false
	}
	for _, l := range s.Lines {
		line := &MetricLine{Queue: l.Queue, Type: l.Type, Points: []*MetricPoint{}}
		for _, p := range l.Points {
			if v := of(p.StatsCounts); v != nil {
				line.Points = append(line.Points, &MetricPoint{p.At, *v})
			}
		}
		out.Lines = append(out.Lines, line)
	}
	return out, true
}
