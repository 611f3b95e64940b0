package web

import (
	"cmp"
	"context"
	"time"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/verify"
	"github.com/millhand/millhand/internal/view"
)

type activityView struct {
	*look
	Records []audit.Record // the newest first
	Days    string
	More    bool
}

const mostRecords = 200

// activityPage is who did what.
func (h *Handler) activityPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	days := map[string]time.Duration{"1": 24 * time.Hour, "7": 7 * 24 * time.Hour, "90": 90 * 24 * time.Hour}
	d := &activityView{look: l, Days: cmp.Or(v.r.URL.Query().Get("days"), "7")}
	back, ok := days[d.Days]
	if !ok {
		return nil, badForm("days", "want 1, 7 or 90")
	}
	var all []audit.Record
	for r, err := range h.audit.Since(ctx, time.Now().Add(-back)) {
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	for i := len(all) - 1; i >= 0 && !d.More; i-- {
		if l.Partial && !h.seesRecord(v.user, l, &all[i]) {
			continue
		}
		all[i].Filter = v.filterText(all[i].Filter)
		d.Records = append(d.Records, all[i])
		d.More = len(d.Records) == mostRecords
	}
	return &page{title: "Activity", section: "Activity", template: "activity", data: d, ended: d.Days != "1"}, nil
}

// filterText is a filter of somebody else as a user may read it: without what is in jobs.
func (v *visit) filterText(text string) string {
	if text == "" || v.h.may(v.user, MayPayload) {
		return text
	}
	f, err := filter.Parse(text)
	if err != nil || v.searchable(f) != nil {
		return hidden
	}
	return text
}

type brokerView struct {
	*look
	Streams []view.Stream
	Setup   *verify.Report // nil: it is not known, or not for this user
}

func (h *Handler) brokerPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	return &page{title: "Broker", section: "Broker", template: "broker", data: &brokerView{l, l.Streams, v.setupOf(ctx, l)}}, nil
}
