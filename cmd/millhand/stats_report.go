package main

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/answer"
)

// pointsOf are those of a report with one line.
func pointsOf(r *answer.Stats) []*answer.StatsPoint {
	if len(r.Lines) == 0 {
		return nil
	}
	return r.Lines[0].Points
}

// endsOfAll is how many ends there are.
func endsOfAll(r *answer.Stats) (n uint64) {
	for _, l := range r.Lines {
		n += endedOf(l.Total)
	}
	return n
}

func endedOf(c *answer.StatsCounts) uint64 {
	return c.Succeeded + c.Retrying + c.Dead + c.Cancelled + c.Snoozed + c.HandedBack + c.Lost
}

// endsBySteps are the ends of each step, from the first step with any to the last.
func endsBySteps(l *answer.StatsLine) (all []uint64) {
	for _, p := range l.Points {
		all = append(all, endedOf(p.StatsCounts))
	}
	return all
}

// statsCSV prints a row for each line and step, for a spreadsheet.
func statsCSV(w io.Writer, r *answer.Stats) error {
	out := csv.NewWriter(w)
	rows := [][]string{{
		"at", "queue", "type", "started", "succeeded", "retrying", "dead", "cancelled", "snoozed", "handed_back", "lost",
		"busy_s", "wait_p50_s", "wait_p95_s", "wait_p99_s", "run_p50_s", "run_p95_s", "run_p99_s",
	}}
	for _, l := range r.Lines {
		for _, p := range l.Points {
			rows = append(rows, append([]string{p.At.Format(time.RFC3339), l.Queue, l.Type}, statsFields(p.StatsCounts)...))
		}
	}
	return out.WriteAll(rows)
}

func statsFields(c *answer.StatsCounts) (all []string) {
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
