package web

import "time"

// A window is the time that charts are of.
type window struct {
	span  time.Duration
	until time.Time // zero: now, and it goes on
}

const (
	leastWindow = time.Minute
	mostWindow  = 100 * 24 * time.Hour // for which anything is kept
)

// window is what the query says: from "since" to "until", where somebody drew over a chart, or the last time of "range",
// by default an hour.
func (v *visit) window() (name string, w window) {
	q := v.r.URL.Query()
	since, err := time.Parse(time.RFC3339, q.Get("since"))
	until, untilErr := time.Parse(time.RFC3339, q.Get("until"))
	if err == nil && untilErr == nil {
		if d := until.Sub(since); d >= leastWindow && d <= mostWindow {
			return "", window{d, until.UTC()}
		}
	}
	for _, s := range spans() {
		if s.Name == q.Get("range") {
			return s.Name, window{span: s.For}
		}
	}
	return "1h", window{span: time.Hour}
}

// A rangePick is a choice of which time charts are of.
type rangePick struct {
	Name    string
	Path    string
	Current bool
}

// rangePicks are all there are. What can be drawn over a chart with a mouse can be reached by them, too: a time before the
// one that is shown, or after it.
func (v *visit) rangePicks() (all []rangePick) {
	now, w := v.window()
	until := w.until
	if until.IsZero() {
		until = time.Now().Truncate(time.Minute)
	}
	at := func(until time.Time) string {
		return v.withQuery("range", "", "since", until.Add(-w.span).UTC().Format(time.RFC3339), "until", until.UTC().Format(time.RFC3339))
	}
	all = append(all, rangePick{Name: "earlier", Path: at(until.Add(-w.span))})
	if name := v.moment(until.Add(-w.span)) + " – " + v.moment(until); !w.until.IsZero() {
		all = append(all, rangePick{Name: name, Path: at(until), Current: true})
		later, now := until.Add(w.span), time.Now().Truncate(time.Minute)
		if later.After(now) {
			later = now
		}
		if later.After(until) {
			all = append(all, rangePick{Name: "later", Path: at(later)})
		}
	}
	for _, s := range spans() {
		all = append(all, rangePick{s.Name, v.withQuery("range", s.Name, "since", "", "until", ""), s.Name == now})
	}
	return all
}
