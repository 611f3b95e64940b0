package answer

import (
	"context"
	"fmt"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
)

// A CronEntry is what programs are told of an entry of a schedule.
type CronEntry struct {
	Name     string    `json:"name"`
	Schedule string    `json:"schedule"`
	Zone     string    `json:"zone"`
	Queue    string    `json:"queue"`
	Type     string    `json:"type"`
	Overlap  string    `json:"overlap"`
	CatchUp  string    `json:"catch_up"`
	Grace    string    `json:"grace"`
	NextTick time.Time `json:"next_tick,omitzero"`

	Paused *registry.Pause `json:"paused,omitempty"`

	LastTick  time.Time `json:"last_tick,omitzero"`
	LastEnd   string    `json:"last_end,omitempty"` // the kind of the last event of its job, if all have one id
	LastEndAt time.Time `json:"last_end_at,omitzero"`
	Missed    int       `json:"missed"`
	MissedAt  time.Time `json:"missed_at,omitzero"`
	Skipped   int       `json:"skipped"`
	SkippedAt time.Time `json:"skipped_at,omitzero"`
}

// CronEntryOf is an entry, and its pause, nil if it has none.
func CronEntryOf(c *millhand.CronInfo, paused *registry.Pause) CronEntry {
	return CronEntry{
		Name: c.Name, Schedule: c.Schedule, Zone: c.Zone, Queue: c.Queue, Type: c.Type, Overlap: string(c.Overlap), CatchUp: string(c.CatchUp), Grace: c.Grace.String(),
		NextTick: c.NextTick, LastTick: c.LastTick, Missed: c.Missed, MissedAt: c.MissedAt, Skipped: c.Skipped, SkippedAt: c.SkippedAt, Paused: paused,
	}
}

// ReadLastEnd says how the last job of an entry ended whose jobs all have its name as id.
func (e *CronEntry) ReadLastEnd(ctx context.Context, store *queue.Store) error {
	if e.Overlap != string(millhand.SkipOverlap) {
		return nil
	}
	id, err := job.IDName(e.Name)
	if err != nil {
		return err
	}
	events, err := store.EventsOf(ctx, id)
	if err != nil {
		return fmt.Errorf("read the events of entry %s: %w", e.Name, err)
	}
	for _, event := range events {
		if event.Queue == e.Queue && event.Type == e.Type {
			e.LastEnd, e.LastEndAt = string(event.Kind), event.Time.UTC()
		}
	}
	return nil
}
