package main

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/tally"
)

// A statsReport is what -o json prints of statistics. The names of its fields are a contract.
type statsReport struct {
	From  time.Time    `json:"from"`
	Until time.Time    `json:"until"`
	Step  int          `json:"step_s"` // seconds
	By    string       `json:"by"`
	Lines []*statsLine `json:"lines"`
	// Backlog is what waited at the end of each step of which that is known.
	Backlog []*statsBacklog `json:"backlog"`
}

// A statsLine is what ran of a type, a queue, both, or of all.
type statsLine struct {
	Queue  string        `json:"queue,omitempty"`
	Type   string        `json:"type,omitempty"`
	Total  *statsCounts  `json:"total"`
	Points []*statsPoint `json:"points"` // of the steps in which anything was counted
}

// A statsPoint is what ran in one step.
type statsPoint struct {
	At time.Time `json:"at"`
	*statsCounts

	Ready *uint64 `json:"-"` // at its end, nil if that is not known
}

// statsCounts are what was counted. Times are seconds, and left out if there was nothing to measure.
type statsCounts struct {
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

// A statsBacklog is what waited and who worked, on average of the step.
type statsBacklog struct {
	At      time.Time `json:"at"`
	Ready   float64   `json:"ready"`
	InHand  float64   `json:"in_hand"`
	Oldest  uint64    `json:"oldest_ready_s"` // the most
	Dead    float64   `json:"dead"`
	Workers float64   `json:"workers"`
	Slots   float64   `json:"slots"`
	Used    float64   `json:"slots_used"`
}

func newStatsReport(s *tally.Series, by string) *statsReport {
	r := &statsReport{From: s.From, Until: s.Until, Step: int(s.Step / time.Second), By: by, Lines: []*statsLine{}, Backlog: []*statsBacklog{}}
	for _, l := range s.Lines {
		line := &statsLine{Queue: l.Queue, Type: l.Type, Total: countsOf(&l.Total)}
		for i, p := range l.Points {
			if p.Counts == nil {
				continue
			}
			point := &statsPoint{At: s.At(i), statsCounts: countsOf(p.Counts)}
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

func countsOf(c *tally.Counts) *statsCounts {
	quantile := func(m tally.Measure, q float64) *float64 { return quantileOf(c, m, q) }
	return &statsCounts{
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

func backlogOf(at time.Time, b *tally.Backlog) *statsBacklog {
	out := &statsBacklog{
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

// points are those of a report with one line.
func (r *statsReport) points() []*statsPoint {
	if len(r.Lines) == 0 {
		return nil
	}
	return r.Lines[0].Points
}

// all is how many ends there are.
func (r *statsReport) all() (n uint64) {
	for _, l := range r.Lines {
		n += l.Total.ended()
	}
	return n
}

func (c *statsCounts) ended() uint64 {
	return c.Succeeded + c.Retrying + c.Dead + c.Cancelled + c.Snoozed + c.HandedBack + c.Lost
}

// ended are the ends of each step, from the first step with any to the last.
func (l *statsLine) ended() (all []uint64) {
	for _, p := range l.Points {
		all = append(all, p.ended())
	}
	return all
}

// csv prints a row for each line and step, for a spreadsheet.
func (r *statsReport) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	rows := [][]string{{
		"at", "queue", "type", "started", "succeeded", "retrying", "dead", "cancelled", "snoozed", "handed_back", "lost",
		"busy_s", "wait_p50_s", "wait_p95_s", "wait_p99_s", "run_p50_s", "run_p95_s", "run_p99_s",
	}}
	for _, l := range r.Lines {
		for _, p := range l.Points {
			rows = append(rows, append([]string{p.At.Format(time.RFC3339), l.Queue, l.Type}, p.fields()...))
		}
	}
	return out.WriteAll(rows)
}

func (c *statsCounts) fields() (all []string) {
	for _, n := range []uint64{c.Started, c.Succeeded, c.Retrying, c.Dead, c.Cancelled, c.Snoozed, c.HandedBack, c.Lost} {
		all = append(all, strconv.FormatUint(n, 10))
	}
	for _, s := range []*float64{&c.Busy, c.WaitP50, c.WaitP95, c.WaitP99, c.RunP50, c.RunP95, c.RunP99} {
		text := ""
		if s != nil {
			text = strconv.FormatFloat(*s, 'g', 4, 64)
		}
		all = append(all, text)
	}
	return all
}

// sparkWidth is how wide a sparkline is at most.
const sparkWidth = 24

// sparkline draws numbers, several to a column where there are too many.
func sparkline(all []uint64, width int) string {
	var sums []uint64
	for i := range min(len(all), width) {
		sum := uint64(0)
		for _, n := range all[i*len(all)/min(len(all), width) : (i+1)*len(all)/min(len(all), width)] {
			sum += n
		}
		sums = append(sums, sum)
	}
	if len(sums) == 0 {
		return ""
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	highest := max(slices.Max(sums), 1)
	var b strings.Builder
	for _, n := range sums {
		b.WriteRune(bars[n*uint64(len(bars)-1)/highest])
	}
	return b.String()
}
