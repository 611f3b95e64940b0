package web

import (
	"context"
	"net/http"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/worker"
)

// A cronRow is an entry of a schedule.
type cronRow struct {
	answer.CronEntry

	entry millhand.Cron
	Next  []time.Time
}

type cronView struct {
	*look
	Rows []cronRow
}

func (d *cronView) tell(*visit) any {
	all := make([]answer.CronEntry, len(d.Rows))
	for i := range d.Rows {
		all[i] = d.Rows[i].CronEntry
	}
	return map[string][]answer.CronEntry{"entries": all}
}

func (h *Handler) cronRows(ctx context.Context, v *visit) (all []cronRow, err error) {
	infos, err := h.client.Crons(ctx)
	if err != nil {
		return nil, err
	}
	known, err := h.registry.Crons(ctx)
	if err != nil {
		return nil, err
	}
	pauses := make(map[string]*registry.Pause)
	for i := range known {
		pauses[known[i].Name] = known[i].Paused
	}
	for i := range infos {
		c := &infos[i]
		if !h.sees(v.user, place{c.Queue, c.Type}) {
			continue
		}
		row := cronRow{CronEntry: answer.CronEntryOf(c, pauses[c.Name]), entry: c.Cron}
		if err := row.ReadLastEnd(ctx, h.store); err != nil {
			return nil, err
		}
		const shown = 3
		if row.Paused == nil {
			row.Next, _ = c.Cron.Next(v.now, shown) // of one that cannot be read there is none
		}
		all = append(all, row)
	}
	return all, nil
}

func (h *Handler) cronPage(ctx context.Context, v *visit) (*page, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := h.cronRows(ctx, v)
	if err != nil {
		return nil, err
	}
	return &page{title: "Cron", section: "Cron", template: "cron", data: &cronView{l, rows}}, nil
}

// entry is the schedule's entry that an address names.
func (h *Handler) entry(ctx context.Context, v *visit) (*cronRow, error) {
	rows, err := h.cronRows(ctx, v)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		if rows[i].Name == v.r.PathValue("entry") {
			return &rows[i], nil
		}
	}
	return nil, &problem{status: http.StatusNotFound, title: "There is no entry " + v.r.PathValue("entry"), text: "It was removed meanwhile."}
}

func (h *Handler) runCron(ctx context.Context, v *visit) (*notice, error) {
	e, err := h.entry(ctx, v)
	if err != nil {
		return nil, err
	}
	ref, err := h.client.Enqueue(ctx, e.entry.Args, e.entry.Options...)
	if err != nil {
		return nil, err
	}
	h.record(ctx, v, audit.Record{Action: audit.RunCron, Ref: e.Name, Count: 1, Detail: "job " + ref.Queue + "/" + ref.Type + "/" + ref.ID})
	n := done("A job of %s is enqueued: %s.", e.Name, ref.ID)
	n.answer = ref
	return n, nil
}

func (h *Handler) pauseCron(ctx context.Context, v *visit) (*notice, error) {
	e, err := h.entry(ctx, v)
	if err != nil {
		return nil, err
	}
	store, reason := h.registry.As(v.user.Name), v.r.PostFormValue("reason")
	if v.r.PostFormValue("end") != "" {
		if err := store.ResumeCron(ctx, e.Name); err != nil {
			return nil, err
		}
		h.record(ctx, v, audit.Record{Action: audit.ResumeCron, Ref: e.Name, Count: 1})
		return done("%s is resumed.", e.Name), nil
	}
	if err := worker.PauseCron(ctx, store, h.store, e.Name, reason); err != nil {
		return nil, err
	}
	h.record(ctx, v, audit.Record{Action: audit.PauseCron, Ref: e.Name, Count: 1, Detail: reason})
	return done("%s is paused: none of its ticks comes until it is resumed.", e.Name), nil
}
