package web

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/view"
)

// A limitRow is a limit in a table.
type limitRow struct {
	*view.Pool
	Running, Ready int64
	Waiting        int64 // jobs that would start if it were higher
	By             string
	Title          string // "rate email"
}

type limitsView struct {
	*look
	Limits []limitRow
	Types  []string
	Queues []string
}

func (v *visit) limitRow(l *look, p *view.Pool) limitRow {
	row := limitRow{Pool: p, Running: runningUnder(l, p), Waiting: waitingFor(l, p), Title: p.Name}
	row.Ready = under(l, p, func(_ *view.Queue, t *view.Type) view.Count { return t.Ready })
	if p.Rate {
		row.Title = "rate of " + p.Name
	}
	switch p.Source {
	case registry.ByConfig:
		row.By = "configuration"
	case registry.HandedBack:
		row.By = "handed back"
	case registry.ByPerson:
		row.By = p.By
		if row.By == "" {
			row.By = "a person"
		}
	}
	return row
}

func (h *Handler) limitsPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	d := &limitsView{look: l, Types: typeNames(l)}
	for i := range l.Pools {
		d.Limits = append(d.Limits, v.limitRow(l, &l.Pools[i]))
	}
	for i := range l.Queues {
		d.Queues = append(d.Queues, l.Queues[i].Name)
	}
	return &page{title: "Limits", section: "Limits", template: "limits", data: d}, nil
}

// keyOfPool reads what a limit is of, as people write it.
func keyOfPool(pool string, rate bool) (slots.Key, error) {
	kind, name, isKind := strings.Cut(pool, "=")
	k := slots.Key{Rate: rate, Kind: slots.OfType, Name: pool}
	if isKind {
		k.Kind, k.Name = kind, name
	}
	switch k.Kind {
	case slots.OfType, slots.OfKey, slots.OfQueue:
		return k, k.Check()
	}
	return k, badForm("limit of", "want a type, queue=NAME or key=NAME")
}

// setLimit sets or removes a limit.
func (h *Handler) setLimit(ctx context.Context, v *visit) (*notice, error) {
	pool := strings.TrimSpace(v.r.PostFormValue("pool"))
	per := strings.TrimSpace(v.r.PostFormValue("per"))
	n, err := strconv.Atoi(strings.TrimSpace(v.r.PostFormValue("limit")))
	if err != nil || n < 0 {
		return nil, badForm("limit", "want a whole number, to 1000000; 0 removes the limit")
	}
	limit := registry.Limit{Jobs: n}
	if per != "" {
		if limit.Per, err = filter.Duration(per); err != nil || limit.Per < time.Second {
			return nil, badForm("per", "want a duration such as 1m, from a second to 24h; empty for jobs at once")
		}
	}
	k, err := keyOfPool(pool, per != "")
	if err != nil {
		return nil, err
	}
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	if l.Partial && !limitsAny(l, &view.Pool{Name: pool, Kind: k.Kind}) {
		return nil, v.unseen(place{Queue: pool})
	}
	was, changed := "no limit", answer.Change{Pool: pool, Limit: n}
	if limit.Per > 0 {
		changed.Per = limit.Per.String()
	}
	for i := range l.Pools {
		if p := &l.Pools[i]; p.Name == pool && p.Rate == (per != "") {
			changed.Used = p.Used
		}
	}
	if before, there, err := h.registry.Limit(ctx, k); err == nil && there {
		was, changed.Was = before.String(), before.Jobs
		if before.Per > 0 {
			changed.WasPer = before.Per.String()
		}
	}
	if err := h.registry.As(v.user.Name).SetLimit(ctx, k, limit); err != nil {
		return nil, err
	}
	is := "no limit"
	if n > 0 {
		is = limit.String()
	}
	h.record(ctx, v, audit.Record{Action: audit.SetLimit, Ref: pool, Count: 1, Detail: is + ", was " + was})
	text := fmt.Sprintf("%s: %s, was %s.", pool, is, was)
	if n > 0 {
		text += " Workers heed it within a second; what runs above it goes on to its end."
	}
	return &notice{Kind: "ok", Text: text, answer: changed}, nil
}
