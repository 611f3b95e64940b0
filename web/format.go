package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// none stands for what there is not.
const none = "–"

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// thousands is a number in groups of three digits.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign, digits := "", text
	if n < 0 {
		sign, digits = "-", text[1:]
	}
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return sign + strings.Join(append([]string{digits}, groups...), ",")
}

// waiting is how many messages wait for a pipeline.
func waiting(lag *int64) string {
	if lag == nil {
		return none
	}
	return thousands(*lag)
}

// lagAge is for how long the oldest of the messages that wait has.
func lagAge(lag *int64, seconds *float64) string {
	if lag == nil || *lag == 0 || seconds == nil {
		return none
	}
	return span(time.Duration(*seconds * float64(time.Second)).Round(time.Second))
}

// full is a count with all of its digits, and a mark if it is not exact.
func full(c view.Count) string { return marked(c, thousands(c.Value)) }

// short is a count for where there is little room.
func short(c view.Count) string {
	n := float64(c.Value)
	switch {
	case n >= 1e9:
		return marked(c, scaled(n/1e9)+"G")
	case n >= 1e6:
		return marked(c, scaled(n/1e6)+"M")
	case n >= 1e5:
		return marked(c, scaled(n/1e3)+"k")
	}
	return full(c)
}

func scaled(n float64) string {
	if n >= 100 {
		return strconv.Itoa(int(n))
	}
	return strconv.FormatFloat(float64(int(n*10))/10, 'f', -1, 64)
}

func marked(c view.Count, text string) string {
	switch c.How {
	case view.Exact:
		return text
	case view.About:
		if c.Value < 1000 { // put together from answers of different moments
			return text
		}
		return "≈ " + text
	case view.AtLeast:
		return "> " + text
	case view.Unknown:
	}
	return "?"
}

// span is a duration in at most two units.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "-" + span(-d)
	case d < time.Millisecond:
		return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', -1, 64) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return units(int(d.Minutes()), "m", int(d.Seconds())%60, "s")
	case d < day:
		return units(int(d.Hours()), "h", int(d.Minutes())%60, "m")
	case d < 10*day:
		return units(int(d/day), "d", int(d.Hours())%24, "h")
	}
	return strconv.Itoa(int(d/day)) + " d"
}

func units(n int, unit string, rest int, smaller string) string {
	if rest == 0 {
		return strconv.Itoa(n) + unit
	}
	return strconv.Itoa(n) + unit + " " + strconv.Itoa(rest) + smaller
}

// perSecond is a rate with what of its fraction matters.
func perSecond(n float64) string {
	switch {
	case n == 0:
		return "0"
	case n >= 10:
		return thousands(int64(n + 0.5))
	case n > 0 && n < 0.001:
		return "< 0.001"
	}
	return strconv.FormatFloat(n, 'g', 2, 64)
}

func percent(share float64) string {
	if share == 0 {
		return "0 %"
	}
	return perSecond(100*share) + " %"
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// size is a number of bytes in units of 1,024.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, units := float64(n), "KMGTP"
	i := -1
	for f >= unit && i < len(units)-1 {
		f, i = f/unit, i+1
	}
	return fmt.Sprintf("%.3g %ciB", f, units[i])
}

// limitText is a limit in words.
func limitText(limit int, per string) string {
	switch {
	case limit == 0:
		return "no limit"
	case per != "":
		return thousands(int64(limit)) + " starts in " + per
	}
	return thousands(int64(limit)) + " at once"
}

// pauseText says by whom, until when and why something is paused, as far as that is known.
func (v *visit) pauseText(p *registry.Pause) string {
	text := "paused"
	if !p.Since.IsZero() {
		text += " for " + span(max(v.now.Sub(p.Since), 0))
	}
	if p.By != "" {
		text += " by " + p.By
	}
	if !p.Until.IsZero() {
		text += ", until " + v.moment(p.Until)
	}
	if p.Reason != "" {
		text += ": " + strconv.Quote(p.Reason)
	}
	return text
}

// moment is a time in the zone of whoever looks: of this day without the date.
func (v *visit) moment(t time.Time) string {
	t, now := t.In(v.zone), v.now.In(v.zone)
	switch {
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format(time.TimeOnly)
	case now.Sub(t).Abs() < 300*24*time.Hour:
		return t.Format("2 Jan 15:04")
	}
	return t.Format("2 Jan 2006")
}
