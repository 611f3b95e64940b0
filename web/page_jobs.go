package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/view"
)

// A jobRow is a job in a list.
type jobRow struct {
	view.Job
	Info string // in a line
	Seen string // the job as it was seen, for operations on it
}

type jobsView struct {
	*look
	Filter  string
	Wrong   string // what is wrong with the filter
	Rows    []jobRow
	Page    *view.Page
	Total   string
	Next    string // address of the next page
	Names   map[string][]string
	Picked  map[string]string // of the filter, what the selects have
	Actions []string          // that can be done to jobs of this state
	Bulk    bool              // and to all that match
	Deep    bool              // it was a search with the larger budget
	Scan    bool
}

// A movedError sends to another address, without the base.
type movedError struct{ to string }

// Error implements error.
func (m *movedError) Error() string { return "see " + m.to }

func states() []string {
	return []string{string(job.Scheduled), string(job.Ready), string(job.Running), string(job.Retrying), string(job.Dead), string(job.Succeeded), string(job.Cancelled)}
}

// jobsPage lists the jobs that a filter means, which is in the query.
func (h *Handler) jobsPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	q := v.r.URL.Query()
	text := strings.TrimSpace(q.Get("filter"))
	if merged, changed := mergePicks(text, q); changed && v.isAPI() {
		text = merged
	} else if changed {
		return nil, &movedError{"/jobs?" + url.Values{"filter": {merged}}.Encode()}
	}
	d := &jobsView{look: l, Filter: text, Picked: make(map[string]string), Names: map[string][]string{"state": states(), "type": typeNames(l)}}
	for i := range l.Queues {
		d.Names["queue"] = append(d.Names["queue"], l.Queues[i].Name)
	}
	p := &page{title: "Jobs", section: "Jobs", template: "jobs", data: d}
	f, err := filter.Parse(text)
	if err != nil {
		d.Wrong, p.ended = err.Error(), true
		return p, nil //nolint:nilerr // the page says what is wrong with the filter
	}
	if id, ok := loneWord(f); ok {
		if f, err = v.find(ctx, id); err != nil {
			return nil, err
		}
	}
	if err := v.searchable(f); err != nil {
		return nil, err
	}
	for _, k := range []filter.Key{filter.State, filter.Queue, filter.Type} {
		if names, ok := f.Names(k); ok && len(names) == 1 {
			d.Picked[string(k)] = names[0]
		}
	}
	d.Deep, d.Scan = q.Get("search") == "deep", f.Class() == filter.Scan
	n, err := pageSize(q.Get("n"))
	if err != nil {
		return nil, err
	}
	d.Page, err = h.data.view.List(ctx, view.Query{Filter: f, Cursor: q.Get("cursor"), N: n, Search: d.Deep, Visible: v.seen()})
	if err != nil {
		return nil, err
	}
	p.ended = d.Scan || q.Get("cursor") != "" // it is not read anew every two seconds
	d.fill(v, f)
	return p, nil
}

// mostListed is how many jobs a page has at most.
const mostListed = 500

// pageSize reads how many jobs a page is to have; 0 is the usual number.
func pageSize(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostListed {
		return 0, badForm("n", "want 1 to "+strconv.Itoa(mostListed))
	}
	return n, nil
}

// fill makes the rows, and what is below them.
func (d *jobsView) fill(v *visit, f filter.Filter) {
	for i := range d.Page.Jobs {
		d.Rows = append(d.Rows, v.jobRow(d.Page.Jobs[i]))
	}
	if d.Page.Cursor != "" {
		q := v.r.URL.Query()
		q.Set("cursor", d.Page.Cursor)
		d.Next = v.h.base + "/jobs?" + q.Encode()
	}
	if d.Page.Total.Known() && v.h.opts.Visible == nil {
		d.Total = full(d.Page.Total)
	}
	d.Actions = actionsOn(f.States())
	d.Bulk = len(d.Actions) > 0 && len(d.Rows) > 0 && !f.Has(filter.Word)
}

// actionsOn are what can be done to jobs of all these states.
func actionsOn(in []job.State) (all []string) {
	if len(in) != 1 {
		return nil
	}
	switch in[0] {
	case job.Dead:
		return []string{"retry", "delete"}
	case job.Scheduled, job.Retrying:
		return []string{"run", "cancel"}
	case job.Ready, job.Running:
		return []string{"cancel"}
	case job.Succeeded, job.Cancelled:
	}
	return nil
}

// mergePicks puts what was picked in the selects into the filter, which alone says what is listed.
func mergePicks(text string, q url.Values) (merged string, changed bool) {
	f, err := filter.Parse(text)
	if err != nil {
		return text, false
	}
	for _, k := range []filter.Key{filter.State, filter.Queue, filter.Type} {
		if !q.Has(string(k)) {
			continue
		}
		changed = true
		picked := q.Get(string(k))
		names, _ := f.Names(k)
		if picked == "" && len(names) > 1 {
			continue // the select cannot say several
		}
		var rest filter.Filter
		for _, t := range f.Terms {
			if t.Key != k || t.Negated {
				rest = rest.With(t)
			}
		}
		if f = rest; picked != "" {
			f = f.With(filter.Term{Key: k, Values: []filter.Value{{Text: picked}}})
		}
	}
	return f.String(), changed
}

// loneWord returns the word that is all of a filter.
func loneWord(f filter.Filter) (string, bool) {
	if len(f.Terms) != 1 || f.Terms[0].Key != filter.Word || f.Terms[0].Negated || len(f.Terms[0].Values) != 1 {
		return "", false
	}
	return f.Terms[0].Values[0].Text, true
}

// find looks for the job that a word is the id of, or a part of the name queue/type/id. Of one it sends there.
func (v *visit) find(ctx context.Context, word string) (filter.Filter, error) {
	id := word[strings.LastIndexByte(word, '/')+1:]
	if job.CheckID(id) == nil {
		found, err := v.h.data.view.Find(ctx, id)
		if err != nil {
			return filter.Filter{}, err
		}
		var seen []view.Job
		for _, j := range found {
			if v.h.sees(v.user, place{j.Queue, j.Type}) && strings.HasSuffix(j.Queue+"/"+j.Type+"/"+j.ID, word) {
				seen = append(seen, j)
			}
		}
		if len(seen) == 1 && !v.isAPI() {
			return filter.Filter{}, &movedError{strings.TrimPrefix(v.URL("/jobs/", seen[0].Queue, "/", seen[0].Type, "/", seen[0].ID), v.h.base)}
		}
		if len(seen) > 0 || !v.h.may(v.user, MayPayload) || v.h.opts.Redact.any() {
			return filter.Parse("id:" + id)
		}
	}
	f := filter.Filter{Terms: []filter.Term{{Key: filter.Word, Values: []filter.Value{{Text: word}}}}} // which was read already
	return f.As(filter.Payload), nil
}

// seen is which jobs the user may see; nil: all.
func (v *visit) seen() func(queue, typ string) bool {
	if v.h.opts.Visible == nil {
		return nil
	}
	return func(queue, typ string) bool { return v.h.opts.Visible(v.user, queue, typ) }
}

const infoLength = 160

func (v *visit) jobRow(j view.Job) jobRow {
	return jobRow{Job: j, Info: v.info(&j), Seen: seenAs(&j)}
}

// seenAs names a job as it was seen, for operations on it: nothing is done to one that has moved on.
func seenAs(j *view.Job) string {
	return url.Values{"q": {j.Queue}, "t": {j.Type}, "i": {j.ID}, "l": {j.Life}, "s": {uitoa(j.Seq)}}.Encode()
}

// info is what there is to know of a job, in a line.
func (v *visit) info(j *view.Job) string {
	text := ""
	switch {
	case j.Error != "" && v.h.may(v.user, MayPayload):
		text = j.Error
	case j.Error != "":
		text = view.GroupOf(j.Error, j.Reason).Text
	case j.Reason != "":
		text = j.Reason
	case j.Worker != "":
		text = "on " + j.Worker
	case len(j.Payload) > 0 && v.h.may(v.user, MayPayload):
		text = string(v.h.opts.Redact.payload(v.user, refOf(j), j.Payload))
	}
	return oneLine(text, infoLength)
}

// oneLine is the beginning of a text, without what would break the line.
func oneLine(text string, most int) string {
	text = strings.ToValidUTF8(text[:min(len(text), 4*most)], "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) { // the latter turn around what follows
			return -1
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// Due is when a job is due, of one that waits for that.
func (r *jobRow) Due() time.Time {
	if r.State.Final() {
		return time.Time{}
	}
	return r.RunAt
}

// isMoved returns the address that an error sends to.
func isMoved(err error) (string, bool) {
	m, ok := errors.AsType[*movedError](err)
	if !ok {
		return "", false
	}
	return m.to, true
}

func (v *visit) move(to string) {
	v.w.Header().Set("Location", v.h.base+to)
	v.w.WriteHeader(http.StatusSeeOther)
}
