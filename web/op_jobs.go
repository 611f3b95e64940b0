package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/view"
)

// An operationKind is what can be done to jobs.
type operationKind struct {
	kind bulk.Kind
	may  Permission
	past string // "retried"
}

// operationKinds are those there are, by the word in addresses and forms.
func operationKinds() map[string]operationKind {
	return map[string]operationKind{
		"retry":  {bulk.Retry, MayRetry, "retried"},
		"run":    {bulk.Start, MayRetry, "started early"},
		"cancel": {bulk.Cancel, MayCancel, "cancelled"},
		"delete": {bulk.Delete, MayDelete, "deleted"},
	}
}

// operation is what a form or an address asks for, if the user may.
func (v *visit) operation(ctx context.Context, word string) (operationKind, error) {
	k, ok := operationKinds()[word]
	if !ok {
		return k, badForm("do", "want retry, run, cancel or delete")
	}
	if !v.h.may(v.user, k.may) {
		v.h.auditRefused(ctx, v, &route{may: k.may})
		return k, v.forbidden(k.may)
	}
	return k, nil
}

// action is what does it.
func (h *Handler) action(k bulk.Kind, by, reason string) bulk.Action {
	switch k {
	case bulk.Retry:
		return &bulk.Retrier{Store: h.store, How: queue.Revival{}}
	case bulk.Delete:
		return &bulk.Deleter{Store: h.store}
	case bulk.Start:
		return &bulk.Starter{Store: h.store}
	case bulk.Cancel:
	}
	return &bulk.Canceller{Store: h.store, Orders: h.registry, Order: job.Order{Grace: job.DefaultGrace, Reason: reason, By: by}}
}

// parseSeen reads a job as it was seen.
func parseSeen(text string) (view.Job, error) {
	q, err := url.ParseQuery(text)
	if err != nil {
		return view.Job{}, badForm("job", "names no job")
	}
	seq, err := strconv.ParseUint(q.Get("s"), 10, 64)
	if err != nil {
		return view.Job{}, badForm("job", "names no job")
	}
	j := view.Job{Queue: q.Get("q"), Type: q.Get("t"), ID: q.Get("i"), Life: q.Get("l"), Seq: seq}
	_, err = job.PlaceOf(j.Queue, j.Type, j.ID)
	return j, err
}

// doToJobs does something to the jobs that a form names, each only if it is still as it was seen.
func (h *Handler) doToJobs(ctx context.Context, v *visit) (*notice, error) {
	k, err := v.operation(ctx, v.r.PostFormValue("do"))
	if err != nil {
		return nil, err
	}
	var jobs []view.Job
	for _, text := range v.r.PostForm["job"] {
		j, err := parseSeen(text)
		if err != nil {
			return nil, err
		}
		if !h.sees(v.user, place{j.Queue, j.Type}) {
			return nil, v.unseen(place{j.Queue, j.Type})
		}
		jobs = append(jobs, j)
	}
	if len(jobs) == 0 {
		return &notice{Kind: "warn", Text: "No job is marked."}, nil
	}
	if k.kind == bulk.Delete && len(jobs) == 1 && jobs[0].Seq == 0 {
		return nil, queue.ErrNotFound
	}
	reason := strings.TrimSpace(v.r.PostFormValue("reason"))
	return h.actOn(ctx, v, act{action: h.action(k.kind, v.user.Name, reason), audit: audit.Action(k.kind), past: k.past, detail: reason}, jobs)
}

// An act is what is done to jobs, and how it is told.
type act struct {
	action bulk.Action
	audit  audit.Action
	past   string // "retried"
	detail string // for the audit
}

func (h *Handler) actOn(ctx context.Context, v *visit, a act, jobs []view.Job) (*notice, error) {
	n, refused, outcomes, first := 0, make(map[string]int), make(map[string]int), error(nil)
	for i := range jobs {
		outcome, err := a.action.Act(ctx, &jobs[i])
		refusal, isRefused := errors.AsType[*bulk.RefusedError](err)
		switch {
		case err == nil:
			n++
			outcomes[outcome]++
		case isRefused:
			refused[refusal.Reason]++
		case first == nil:
			first = err
		}
	}
	report := bulk.Report{Done: n, Outcomes: outcomes, Refused: refused, Failed: len(jobs) - n - sumOf(refused)}
	r := audit.Record{Action: a.audit, Count: n, Refused: refused, Detail: a.detail}
	if len(jobs) == 1 {
		r.Ref = jobs[0].Queue + "/" + jobs[0].Type + "/" + jobs[0].ID
	}
	if first != nil {
		r.Outcome, r.Failed, r.Detail = audit.Failed, len(jobs)-n, first.Error()
	}
	h.record(ctx, v, r)
	if n == 0 && first != nil {
		return nil, first
	}
	if len(jobs) == 1 && n == 0 {
		return nil, refusedPage(sortedKeys(refused)[0])
	}
	var text strings.Builder
	text.WriteString(plural(int64(n), "job", "jobs") + " " + a.past)
	if n < len(jobs) {
		for _, reason := range sortedKeys(refused) {
			fmt.Fprintf(&text, ", %d refused (%s)", refused[reason], strings.ReplaceAll(reason, "_", " "))
		}
		return &notice{Kind: "warn", Text: text.String() + ".", answer: report}, nil
	}
	return &notice{Kind: "ok", Text: text.String() + ".", answer: report}, nil
}

func sumOf(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// refusedPage says why nothing was done to a job.
func refusedPage(reason string) error {
	text := map[string]string{
		bulk.Alive: "Another job with its id is alive.", bulk.Gone: "It is not there any more.", bulk.AlreadyEnded: "It has ended already.",
		bulk.AlreadyDue: "It is due already.", bulk.Changed: "It is not as it was shown: it ran meanwhile, or was moved.", bulk.Invalid: "It cannot run as it is.",
	}[reason]
	return &problem{status: http.StatusConflict, title: "Nothing was done", text: text, hint: "Somebody or something was faster. Look at it again."}
}
