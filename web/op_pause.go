package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/timespan"
	"github.com/millhand/millhand/internal/view"
)

// placeOfForm is the queue, or the type in it, that a form is about.
func (v *visit) placeOfForm() place {
	return place{Queue: v.r.PostFormValue("queue"), Type: v.r.PostFormValue("type")}
}

// String is the place as people write it.
func (p place) String() string { return strings.TrimSuffix(p.Queue+"/"+p.Type, "/") }

func (h *Handler) pause(ctx context.Context, v *visit) (*notice, error) {
	p, reason := v.placeOfForm(), strings.TrimSpace(v.r.PostFormValue("reason"))
	if !h.sees(v.user, p) {
		return nil, v.unseen(p)
	}
	length, err := filter.Duration(v.r.PostFormValue("for"))
	if err != nil || length < 0 {
		return nil, badDuration("for", err, "want a duration, such as 90s, 1h30m or 7d; 0s is until it is resumed")
	}
	if err := h.checkThere(ctx, v, p); err != nil {
		return nil, err
	}
	store := h.registry.As(v.user.Name)
	if p.Type == "" {
		err = store.PauseFor(ctx, p.Queue, reason, length)
	} else {
		err = store.PauseType(ctx, p.Queue, p.Type, reason, length)
	}
	if err != nil {
		return nil, err
	}
	detail := reason
	if length > 0 {
		detail = strings.TrimSuffix("for "+span(length)+": "+reason, ": ")
	}
	h.record(ctx, v, audit.Record{Action: audit.Pause, Ref: p.String(), Count: 1, Detail: detail})
	return done("%s is paused: workers take no more of its jobs within a second. What runs goes on.", p), nil
}

// checkThere refuses a queue that nothing is known of: a name that is misspelt would be taken for paused. The command
// pauses one before its first job, and warns of that, which a program would not read. Types are not all known: of one
// that no worker has had, there is no count.
func (h *Handler) checkThere(ctx context.Context, v *visit, p place) error {
	for range 2 {
		l, err := v.look(ctx)
		if err != nil {
			return err
		}
		if l.Failed != nil || slices.ContainsFunc(l.Queues, func(q view.Queue) bool { return q.Name == p.Queue }) {
			return nil //nolint:nilerr // without an answer, the write says so
		}
		h.data.view.Refresh() // it may have come just now
	}
	return &problem{
		status: http.StatusNotFound, title: "There is no queue " + p.Queue, text: "No job of it was ever enqueued, so there is nothing to be paused.",
		hint: "Is the name right? The command pauses what is yet to come: millhand pause " + p.String(),
	}
}

func (h *Handler) resume(ctx context.Context, v *visit) (*notice, error) {
	p := v.placeOfForm()
	if !h.sees(v.user, p) {
		return nil, v.unseen(p)
	}
	store := h.registry.As(v.user.Name)
	var err error
	if p.Type == "" {
		err = store.Resume(ctx, p.Queue)
	} else {
		err = store.ResumeType(ctx, p.Queue, p.Type)
	}
	if err != nil {
		return nil, err
	}
	h.record(ctx, v, audit.Record{Action: audit.Resume, Ref: p.String(), Count: 1})
	return done("%s is resumed.", p), nil
}

// sees reports whether a user may see a queue, or a type in it.
func (h *Handler) sees(u User, p place) bool {
	return h.opts.Visible == nil || h.opts.Visible(u, p.Queue, p.Type)
}

// unseen is the answer about what a user may not see: the same as about what is not there.
func (v *visit) unseen(p place) error {
	return &problem{status: 404, title: "There is no " + p.String(), text: "No queue or type of that name can be seen from here."}
}

// badForm says what is wrong with a field of a form.
func badForm(field, text string) error {
	return &problem{status: 400, title: "This cannot be", text: field + ": " + text + ".", hint: "Go back and correct it."}
}

// badDuration says what is wrong with a duration: that it is too long or, if err does not say so, what it should be.
func badDuration(field string, err error, want string) error {
	if errors.Is(err, timespan.ErrTooLong) {
		want = err.Error()
	}
	return badForm(field, want)
}

// opWithin is how long an operation may take.
const opWithin = 15 * time.Second
