package web

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/millhand/millhand"
)

const (
	listWithin = 25 * time.Second // for reading all workflows
	listShare  = 10               // a list is good for so many times as long as it took to read
)

// A workflowList is all workflows that are known, as they were read lately. It is read from two documents of each, so all
// who look share it, and the longer that takes the less often it is done.
type workflowList struct {
	flight singleflight.Group

	mu   sync.Mutex
	all  []millhand.WorkflowSummary // those that began last first
	read time.Time
	good time.Time // until when it is
}

// forget has the list read anew: something was done to a workflow.
func (l *workflowList) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.good = time.Time{}
}

func (l *workflowList) known() ([]millhand.WorkflowSummary, time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all, l.read, time.Now().Before(l.good)
}

// workflows returns all that are known, which nobody may change, and when they were read.
func (h *Handler) workflows(ctx context.Context) ([]millhand.WorkflowSummary, time.Time, error) {
	l := &h.flows
	if all, at, good := l.known(); good {
		return all, at, nil
	}
	_, err, _ := l.flight.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), listWithin)
		defer cancel()
		began := time.Now()
		var all []millhand.WorkflowSummary
		for w, err := range h.client.Workflows(ctx) {
			if err != nil {
				return nil, err
			}
			all = append(all, w)
		}
		slices.SortFunc(all, newestFirst)
		l.mu.Lock()
		defer l.mu.Unlock()
		now := time.Now()
		l.all, l.read, l.good = all, now, now.Add(max(fresh, listShare*now.Sub(began)))
		return nil, nil
	})
	all, at, _ := l.known()
	return all, at, err
}

func newestFirst(a, b millhand.WorkflowSummary) int {
	return cmp.Or(cmp.Compare(b.CreatedAt.UnixMicro(), a.CreatedAt.UnixMicro()), strings.Compare(a.ID, b.ID))
}

// cursorAt is where a list goes on behind a workflow.
func cursorAt(w *millhand.WorkflowSummary) string {
	return strconv.FormatInt(w.CreatedAt.UnixMicro(), 10) + "." + w.ID
}

// behind returns what of a list comes behind a cursor, whether or not the workflow at it is still there.
func behind(all []millhand.WorkflowSummary, cursor string) ([]millhand.WorkflowSummary, error) {
	if cursor == "" {
		return all, nil
	}
	text, id, ok := strings.Cut(cursor, ".")
	micros, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return nil, badForm("cursor", "want that of an earlier answer")
	}
	at := millhand.WorkflowSummary{Ref: millhand.Ref{ID: id}, CreatedAt: time.UnixMicro(micros)}
	from, _ := slices.BinarySearchFunc(all, at, func(w, at millhand.WorkflowSummary) int { return newestFirst(w, at) })
	for from < len(all) && newestFirst(all[from], at) == 0 {
		from++
	}
	return all[from:], nil
}
