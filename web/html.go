package web

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// This is the one file that makes HTML which templates take as it is. All that comes from elsewhere is
// escaped here.

// functions are what templates call that depends on nobody who looks.
func functions() template.FuncMap {
	return template.FuncMap{
		"full": full, "short": short, "thousands": thousands, "span": span, "perSecond": perSecond, "percent": percent,
		"plural": plural, "size": size, "limitText": limitText, "int64": func(n int) int64 { return int64(n) }, "thousands64": func(n uint64) string { return thousands(int64(n)) }, //nolint:gosec // far below
		"join": strings.Join, "few": few, "waiting": waiting, "lagAge": lagAge,
	}
}

// URL is the address of a path with names in it, each of which is escaped: URL "/queues/" .Name.
func (v *visit) URL(parts ...string) string {
	var b strings.Builder
	b.WriteString(v.h.base)
	for i, p := range parts {
		if i%2 == 0 {
			b.WriteString(p)
		} else {
			b.WriteString(url.PathEscape(p))
		}
	}
	return b.String()
}

// Jobs is the address of the list of jobs that a filter means.
func (v *visit) Jobs(filter string) string {
	return v.h.base + "/jobs?" + url.Values{"filter": {filter}}.Encode()
}

// To is the address of this page with one value of its query changed, or without it if that is empty.
func (v *visit) To(key, value string) string { return v.withQuery(key, value) }

// withQuery is the address of this page with values of its query changed, or without them if they are empty.
// What goes on from a place in a list does not.
func (v *visit) withQuery(pairs ...string) string {
	q := v.r.URL.Query()
	q.Del("cursor")
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			q.Del(pairs[i])
		} else {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	path := strings.TrimPrefix(v.r.URL.Path, "/live")
	if len(q) == 0 {
		return v.h.base + path
	}
	return v.h.base + path + "?" + q.Encode()
}

// Here is this page, for forms to come back to.
func (v *visit) Here() string { return v.here() }

// Asset is the address of a static file.
func (v *visit) Asset(name string) string { return v.h.files.address[name] }

// Can reports whether the user has a permission.
func (v *visit) Can(permission string) bool { return v.h.may(v.user, Permission(permission)) }

// User is who looks.
func (v *visit) User() User { return v.user }

// Settings are what the browser keeps.
func (v *visit) Settings() settings { return v.set }

// Unsafe reports whether anybody may do anything, wherever they are.
func (v *visit) Unsafe() bool { return v.h.opts.Unsafe && v.h.opts.Auth == nil }

// ReadOnly reports whether nobody may do anything.
func (v *visit) ReadOnly() bool { return v.h.opts.ReadOnly }

// Version is that of the program.
func (v *visit) Version() string { return version() }

// timeTag is a time as browsers know it, with all there is to know of it as its title.
func (v *visit) timeTag(t time.Time, text, kind string) template.HTML {
	if t.IsZero() {
		return none
	}
	title := t.In(v.zone).Format("2006-01-02 15:04:05.000 MST")
	return template.HTML(`<time datetime="` + t.UTC().Format(time.RFC3339Nano) + `" title="` + template.HTMLEscapeString(title) + `" data-t="` + kind + `">` + //nolint:gosec // the parts are escaped
		template.HTMLEscapeString(text) + `</time>`)
}

// Ago is how long ago a time was.
func (v *visit) Ago(t time.Time) template.HTML {
	return v.timeTag(t, span(max(v.now.Sub(t), 0))+" ago", "ago")
}

// Age is how long something lasts that began at a time.
func (v *visit) Age(t time.Time) template.HTML {
	return v.timeTag(t, span(max(v.now.Sub(t), 0)), "age")
}

// In is how long it is until a time.
func (v *visit) In(t time.Time) template.HTML {
	d := t.Sub(v.now)
	if d < 0 {
		return v.Ago(t)
	}
	return v.timeTag(t, "in "+span(d), "in")
}

// At is a time.
func (v *visit) At(t time.Time) template.HTML { return v.timeTag(t, v.moment(t), "at") }

// Bar is a bar that is filled by a part of a whole.
func (v *visit) Bar(part, whole int) template.HTML {
	const width = 100
	share := 0.0
	if whole > 0 {
		share = math.Max(0, math.Min(1, float64(part)/float64(whole)))
	}
	kind := "ok"
	if share >= 1 {
		kind = "full"
	}
	return template.HTML(`<svg class="bar ` + kind + `" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="8" rx="2"/><rect class="fill" width="` + //nolint:gosec // numbers
		strconv.FormatFloat(width*share, 'f', 1, 64) + `" height="8" rx="2"/></svg>`)
}

// Ends is a bar of how many of all steps have succeeded, failed, and were skipped.
func (v *visit) Ends(w millhand.WorkflowSummary) template.HTML {
	kind := "ok"
	if w.Succeeded == w.Steps {
		kind = "done"
	}
	var b strings.Builder
	at := 0
	for _, part := range []struct {
		class string
		n     int
	}{{"fill", w.Succeeded}, {"bad", w.Failed}, {"left-out", w.Skipped}} {
		fmt.Fprintf(&b, `<rect class="%s" x="%.1f" width="%.1f" height="8"/>`, part.class, 100*float64(at)/float64(max(w.Steps, 1)), 100*float64(part.n)/float64(max(w.Steps, 1)))
		at += part.n
	}
	return template.HTML(`<svg class="bar ` + kind + `" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="8" rx="2"/>` + b.String() + `</svg>`) //nolint:gosec // numbers
}

// RefURL is the address of the job or workflow that a record of the audit names, empty if it names something else.
func (v *visit) RefURL(ref string) string {
	parts := strings.Split(ref, "/")
	switch {
	case len(parts) != 3:
		return ""
	case parts[1] == job.WorkflowType:
		return v.URL("/workflows/", parts[0], "/", parts[2])
	}
	return v.URL("/jobs/", parts[0], "/", parts[1], "/", parts[2])
}

// Spark is a small chart of numbers over time.
func (v *visit) Spark(values []float64) template.HTML {
	const width, height = 72.0, 20.0
	most := 0.0
	for _, n := range values {
		most = math.Max(most, n)
	}
	if len(values) < 2 || most == 0 {
		return `<svg class="spark" viewBox="0 0 72 20" aria-hidden="true"><path class="line" d="M0 18.5H72"/></svg>`
	}
	var line strings.Builder
	step := width / float64(len(values)-1)
	for i, n := range values {
		if i == 0 {
			line.WriteByte('M')
		} else {
			line.WriteByte('L')
		}
		line.WriteString(strconv.FormatFloat(float64(i)*step, 'f', 1, 64))
		line.WriteByte(' ')
		line.WriteString(strconv.FormatFloat(height-1.5-(height-3)*n/most, 'f', 1, 64))
	}
	path := line.String()
	return template.HTML(`<svg class="spark" viewBox="0 0 72 20" aria-hidden="true"><path class="area" d="` + path + `L72 20L0 20Z"/><path class="line" d="` + path + `"/></svg>`) //nolint:gosec // numbers
}

// Seconds is a measured time, as charts have it.
func (v *visit) Seconds(n *float64) string { return span(time.Duration(*n * float64(time.Second))) }

// Number is a number of a chart.
func (v *visit) Number(n *float64) string { return perSecond(*n) }

// A place is a queue, or a type in it.
type place struct{ Queue, Type string }

// Place names a queue or a type in it, for the forms that pause.
func (v *visit) Place(queue, typ string) place { return place{queue, typ} }

// Span is how long something took.
func (v *visit) Span(d time.Duration) string { return span(d) }

// PauseText says by whom, until when and why something is paused.
func (v *visit) PauseText(p *registry.Pause) string { return v.pauseText(p) }

// Bar64 is Bar of a longer number.
func (v *visit) Bar64(part int64, whole int) template.HTML { return v.Bar(int(part), whole) }

// CanDo reports whether the user may do something to jobs.
func (v *visit) CanDo(word string) bool { return v.h.may(v.user, operationKinds()[word].may) }

// BulkURL is the address that does something to all jobs which a filter means, once that is confirmed.
func (v *visit) BulkURL(word, filter string) string {
	return v.h.base + "/bulk/new?" + url.Values{"do": {word}, "filter": {filter}}.Encode()
}

// JobURL is the address of a job, in the life that was seen if that has ended.
func (v *visit) JobURL(j view.Job) string {
	at := v.URL("/jobs/", j.Queue, "/", j.Type, "/", j.ID)
	if j.State.Final() && j.Life != "" {
		at += "?" + url.Values{"life": {j.Life}}.Encode()
	}
	return at
}

// Words are words, for templates to go through.
func (v *visit) Words(all ...string) []string { return all }
