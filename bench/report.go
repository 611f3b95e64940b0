package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// A report is the table, with where it was made.
type report struct {
	Machine string    `json:"machine"`
	Time    time.Time `json:"time"`
	Rounds  int       `json:"rounds"`
	Jobs    int       `json:"jobs"` // of a typical work
	Lines   []line    `json:"lines"`
}

// A line is a row with its numbers. A series that is missing was not measured.
type line struct {
	Work    string `json:"work"`
	Title   string `json:"title"`
	Unit    string `json:"unit"`
	Of      series `json:"of"`
	Against other  `json:"against,omitzero"`
	Beside  other  `json:"beside,omitzero"`
	Ratio   series `json:"ratio,omitempty"` // of to against, round by round
	Budget  string `json:"budget,omitempty"`
	Met     *bool  `json:"met,omitempty"` // by the median; null if nothing was measured or there is no budget

	digits int
}

// An other is the same measure of another contestant.
type other struct {
	Name   string `json:"name"`
	Values series `json:"values"`
}

// IsZero leaves those out of the JSON that were not measured.
func (o other) IsZero() bool { return len(o.Values) == 0 }

func newReport(o options) *report {
	return &report{Machine: machine(), Time: time.Now().UTC().Truncate(time.Second), Rounds: o.rounds, Jobs: o.jobs}
}

func (r *report) add(w work, samples map[string][]sample) {
	for _, row := range w.rows {
		r.Lines = append(r.Lines, lineOf(w.name, row, samples))
	}
}

func lineOf(name string, r row, samples map[string][]sample) line {
	l := line{
		Work: name, Title: r.title, Unit: r.unit, Budget: r.budget.String(), digits: r.digits,
		Of:      seriesOf(samples[r.of], r.measure),
		Against: other{r.against, seriesOf(samples[r.against], r.measure)},
		Beside:  other{r.beside, seriesOf(samples[r.beside], r.measure)},
	}
	judged := l.Of
	if r.against != "" {
		judged = nil
		if len(l.Of) == len(l.Against.Values) {
			l.Ratio = l.Of.over(l.Against.Values)
			judged = l.Ratio
		}
	}
	if len(judged) > 0 && r.budget != (budget{}) {
		met := r.budget.met(judged.median())
		l.Met = &met
	}
	return l
}

func (r *report) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "\t")
	return enc.Encode(r)
}

// writeMarkdown prints medians, with the least and the greatest of the rounds in brackets.
func (r *report) writeMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %d rounds, %s jobs\n\n", r.Machine, r.Time.Format("2006-01-02 15:04 UTC"), r.Rounds, thousands(float64(r.Jobs), 0))
	b.WriteString("| work | unit | Millhand | against | beside | ratio | budget | |\n")
	b.WriteString("| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |\n")
	for _, l := range r.Lines {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", l.Title, l.Unit,
			cell(l.Of, l.digits), l.Against.cell(l.digits), l.Beside.cell(l.digits),
			optional(l.Ratio, 2), l.Budget, l.mark())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (l line) mark() string {
	switch {
	case l.Met == nil:
		return ""
	case *l.Met:
		return "pass"
	default:
		return "**miss**"
	}
}

func (o other) cell(digits int) string {
	if o.IsZero() {
		return ""
	}
	return o.Name + " " + optional(o.Values, digits)
}

func cell(s series, digits int) string {
	if len(s) == 0 {
		return "n/a"
	}
	return optional(s, digits)
}

func optional(s series, digits int) string {
	switch len(s) {
	case 0:
		return ""
	case 1:
		return thousands(s[0], digits)
	}
	least, greatest := s[0], s[0]
	for _, v := range s {
		least, greatest = min(least, v), max(greatest, v)
	}
	return fmt.Sprintf("%s (%s–%s)", thousands(s.median(), digits), thousands(least, digits), thousands(greatest, digits))
}

// thousands formats v with commas between groups of three digits.
func thousands(v float64, digits int) string {
	text := strconv.FormatFloat(v, 'f', digits, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return sign + whole + fraction
}
