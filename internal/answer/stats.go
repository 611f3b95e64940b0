package answer

import (
	"time"

	"github.com/millhand/millhand/internal/tally"
)

// Stats are what ran, how it ended, and what waited.
type Stats struct {
	From  time.Time    `json:"from"`
	Until time.Time    `json:"until"`
	Step  int          `json:"step_s"` // seconds
	By    string       `json:"by"`
	Lines []*StatsLine `json:"lines"`
	// Backlog is what waited at the end of each step of which that is known.
	Backlog []*StatsBacklog `json:"backlog"`
}

// A StatsLine is what ran of a type, a queue, both, or of all.
type StatsLine struct {
	Queue  string        `json:"queue,omitempty"`
	Type   string        `json:"type,omitempty"`
	Total  *StatsCounts  `json:"total"`
	Points []*StatsPoint `json:"points"` // of the steps in which anything was counted
}

// A StatsPoint is what ran in one step.
type StatsPoint struct {
	At time.Time `json:"at"`
	*StatsCounts

	Ready *uint64 `json:"-"` // at its end, nil if that is not known
}

// StatsCounts are what was counted. Times are seconds, and left out if there was nothing to measure.
type StatsCounts struct {
	Started    uint64   `json:"started"`
	Succeeded  uint64   `json:"succeeded"`
	Retrying   uint64   `json:"retrying"`
	Dead       uint64   `json:"dead"`
	Cancelled  uint64   `json:"cancelled"`
	Snoozed    uint64   `json:"snoozed"`
	HandedBack uint64   `json:"handed_back"`
	Lost       uint64   `json:"lost"`
	Busy       float64  `json:"busy_s"`
	WaitP50    *float64 `json:"wait_p50_s,omitempty"`
	WaitP95    *float64 `json:"wait_p95_s,omitempty"`
	WaitP99    *float64 `json:"wait_p99_s,omitempty"`
	RunP50     *float64 `json:"run_p50_s,omitempty"`
	RunP95     *float64 `json:"run_p95_s,omitempty"`
	RunP99     *float64 `json:"run_p99_s,omitempty"`
}

// A StatsBacklog is what waited and who worked, on average of the step.
type StatsBacklog struct {
	At      time.Time `json:"at"`
	Ready   float64   `json:"ready"`
	InHand  float64   `json:"in_hand"`
	Oldest  uint64    `json:"oldest_ready_s"` // the most
	Dead    float64   `json:"dead"`
	Workers float64   `json:"workers"`
	Slots   float64   `json:"slots"`
	Used    float64   `json:"slots_used"`
}

// StatsOf is a series as programs are told it.
func StatsOf(s *tally.Series, by string) *Stats {
	r := &Stats{From: s.From, Until: s.Until, Step: int(s.Step / time.Second), By: by, Lines: []*StatsLine{}, Backlog: []*StatsBacklog{}}
	for _, l := range s.Lines {
		line := &StatsLine{Queue: l.Queue, Type: l.Type, Total: countsOf(&l.Total)}
		for i, p := range l.Points {
			if p.Counts == nil {
				continue
			}
			point := &StatsPoint{At: s.At(i), StatsCounts: countsOf(p.Counts)}
			if b := s.Backlog[i]; b != nil && b.Samples > 0 {
				point.Ready = new(uint64(backlogOf(s.At(i), b).Ready))
			}
			line.Points = append(line.Points, point)
		}
		r.Lines = append(r.Lines, line)
	}
	for i, b := range s.Backlog {
		if b != nil && b.Samples > 0 {
			r.Backlog = append(r.Backlog, backlogOf(s.At(i), b))
		}
	}
	return r
}

func countsOf(c *tally.Counts) *StatsCounts {
	quantile := func(m tally.Measure, q float64) *float64 { return quantileOf(c, m, q) }
	return &StatsCounts{
		Started: c.N[tally.Started], Succeeded: c.N[tally.Succeeded], Retrying: c.N[tally.Retrying], Dead: c.N[tally.Dead],
		Cancelled: c.N[tally.Cancelled], Snoozed: c.N[tally.Snoozed], HandedBack: c.N[tally.HandedBack], Lost: c.N[tally.Lost],
		Busy:    c.Busy().Seconds(),
		WaitP50: quantile(tally.Wait, 0.5), WaitP95: quantile(tally.Wait, 0.95), WaitP99: quantile(tally.Wait, 0.99),
		RunP50: quantile(tally.Run, 0.5), RunP95: quantile(tally.Run, 0.95), RunP99: quantile(tally.Run, 0.99),
	}
}

// quantileOf is nil if there was nothing to measure.
func quantileOf(c *tally.Counts, m tally.Measure, q float64) *float64 {
	h := c.Histogram(m)
	if h.Count() == 0 {
		return nil
	}
	return new(h.Quantile(q).Seconds())
}

func backlogOf(at time.Time, b *tally.Backlog) *StatsBacklog {
	out := &StatsBacklog{
		At: at, Dead: b.Dead.Mean(b.Samples), Workers: b.Workers.Mean(b.Samples), Slots: b.Slots.Mean(b.Samples), Used: b.Used.Mean(b.Samples),
	}
	for _, q := range b.Queues {
		for _, t := range q.Types {
			out.Ready += t.Ready.Mean(b.Samples)
			out.InHand += t.InHand.Mean(b.Samples)
			out.Oldest = max(out.Oldest, t.Oldest.Max)
		}
	}
	return out
}
