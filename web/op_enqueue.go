package web

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/view"
)

type enqueueView struct {
	*look
	Queue, Type string // that the form begins with
	Queues      []string
	Types       []string
}

// enqueuePage is a form for a new job.
func (h *Handler) enqueuePage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	q := v.r.URL.Query()
	d := &enqueueView{look: l, Queue: q.Get("queue"), Type: q.Get("type"), Types: typeNames(l)}
	for i := range l.Queues {
		d.Queues = append(d.Queues, l.Queues[i].Name)
	}
	if d.Queue == "" {
		d.Queue = "default"
	}
	return &page{title: "Enqueue a job", section: "Jobs", template: "enqueue", data: d, ended: true}, nil
}

// enqueue adds a job as a form has it.
func (h *Handler) enqueue(ctx context.Context, v *visit) (*notice, error) {
	field := func(name string) string { return strings.TrimSpace(v.r.PostFormValue(name)) }
	at := place{Queue: field("queue"), Type: field("type")}
	if at.Queue == "" {
		at.Queue = "default"
	}
	if !h.sees(v.user, at) {
		return nil, v.unseen(at)
	}
	opts := []millhand.EnqueueOption{millhand.WithQueue(at.Queue)}
	if id := field("id"); id != "" {
		opts = append(opts, millhand.WithID(id))
	}
	due, err := v.due()
	if err != nil {
		return nil, err
	}
	if !due.IsZero() {
		opts = append(opts, millhand.WithRunAt(due))
	}
	if text := field("max_attempts"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, badForm("max_attempts", "want a whole number from 1 to "+strconv.Itoa(job.MaxMaxAttempts))
		}
		opts = append(opts, millhand.WithMaxAttempts(n))
	}
	ref, err := h.client.Enqueue(ctx, millhand.Raw{Name: at.Type, Payload: []byte(v.r.PostFormValue("payload"))}, opts...)
	if err != nil {
		return nil, err
	}
	name := ref.Queue + "/" + ref.Type + "/" + ref.ID
	h.record(ctx, v, audit.Record{Action: audit.Enqueue, Ref: name, Count: 1})
	n := done("The job %s is enqueued.", ref.ID)
	n.to, n.answer = "/jobs/"+name, ref
	return n, nil
}

// due is when a form wants a job to run: at a time, in the zone of whoever asks unless it has one, or in a while. Zero
// is now.
func (v *visit) due() (time.Time, error) {
	at, in := strings.TrimSpace(v.r.PostFormValue("at")), strings.TrimSpace(v.r.PostFormValue("in"))
	switch {
	case at != "" && in != "":
		return time.Time{}, badForm("in", "at and in: use one")
	case in != "":
		d, err := filter.Duration(in)
		if err != nil || d <= 0 {
			return time.Time{}, badDuration("in", err, "want a duration, such as 90s, 1h30m or 7d")
		}
		return time.Now().Add(d), nil
	case at == "":
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} { // as browsers have it
		if t, err := time.ParseInLocation(layout, at, v.zone); err == nil {
			return t, nil
		}
	}
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return t, badForm("at", "want a time such as 2026-12-24T18:00 or 2026-12-24T18:00:00+01:00")
	}
	return t, nil
}

// reschedule moves a job that waits for its time, if it is still as it was seen.
func (h *Handler) reschedule(ctx context.Context, v *visit) (*notice, error) {
	j, err := parseSeen(v.r.PostFormValue("job"))
	if err != nil {
		return nil, err
	}
	if !h.sees(v.user, place{j.Queue, j.Type}) {
		return nil, v.unseen(place{j.Queue, j.Type})
	}
	due, err := v.due()
	if err != nil {
		return nil, err
	}
	if due.IsZero() {
		return nil, badForm("at", "give a time, or in for how long; “Run now” starts it at once")
	}
	return h.actOn(ctx, v, act{
		action: &bulk.Starter{Store: h.store, At: due}, audit: audit.Reschedule, past: "moved to " + due.In(v.zone).Format(time.RFC3339), detail: due.UTC().Format(time.RFC3339),
	}, []view.Job{j})
}
