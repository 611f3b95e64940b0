package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// An entry is paused by removing it and keeping what it was. So all nodes, those of earlier versions
// too, do what they do when it is removed: they publish no more ticks, and what was published ahead
// does not start. When it is resumed it is put again, and counts from then.

// A pausedCron is an entry as it was, and its pause.
type pausedCron struct {
	Pause
	Entry json.RawMessage `json:"entry"` // a cronValue
}

// PauseCron has no more ticks of an entry come until ResumeCron. Of one that is paused it changes the
// reason and who paused it. It returns the entry as it was, without a name if it was paused before. It
// returns [ErrNoEntry] if there is none.
func (s *Store) PauseCron(ctx context.Context, name, reason string) (before Cron, err error) {
	if err := job.CheckCron(name); err != nil {
		return Cron{}, err
	}
	if len(reason) > MaxPauseReason {
		return Cron{}, job.Invalid("reason of a pause", "", "has %d bytes, and at most %d are kept", len(reason), MaxPauseReason)
	}
	var failed error
	err = s.set(ctx, cronSetting(name), func(there stream.Entry) ([]byte, bool) {
		before, failed = Cron{}, nil
		pause := Pause{Since: time.Now().UTC(), By: s.by(), Reason: reason}
		if paused := pausedOfCron(there); paused != nil {
			pause.Since = paused.Since
			return encodePausedCron(pause, paused.Entry), true
		}
		known, err := decodeCron(there)
		switch {
		case there.Value == nil || err == nil && known.Removed:
			failed = ErrNoEntry
			return nil, false
		case err != nil:
			failed = err
			return nil, false
		}
		before = known
		return encodePausedCron(pause, encodeCron(known, known.Schedule.Since())), true
	})
	return before, cmp.Or(failed, err)
}

// ResumeCron ends the pause of an entry; of one that is not paused it does nothing. It returns
// [ErrNoEntry] if there is none.
func (s *Store) ResumeCron(ctx context.Context, name string) error {
	if err := job.CheckCron(name); err != nil {
		return err
	}
	var failed error
	err := s.set(ctx, cronSetting(name), func(there stream.Entry) ([]byte, bool) {
		failed = nil
		if paused := pausedOfCron(there); paused != nil {
			return paused.Entry, true
		}
		if known, err := decodeCron(there); there.Value == nil || err == nil && known.Removed {
			failed = ErrNoEntry
		}
		return nil, false
	})
	return cmp.Or(failed, err)
}

func encodePausedCron(p Pause, entry []byte) []byte {
	return encodeCronValue(cronValue{Removed: true, Paused: &pausedCron{Pause: p, Entry: entry}})
}

// pausedOfCron returns the pause of an entry, nil if it is not paused or cannot be read.
func pausedOfCron(e stream.Entry) *pausedCron {
	var v cronValue
	if json.Unmarshal(e.Value, &v) != nil || !v.Removed {
		return nil
	}
	return v.Paused
}

// readPausedCron returns an entry that is paused as it was; false if it is not paused, or cannot be
// read.
func readPausedCron(e stream.Entry) (Cron, bool) {
	paused := pausedOfCron(e)
	if paused == nil {
		return Cron{}, false
	}
	e.Value = paused.Entry
	c, err := decodeCron(e)
	c.Paused = &paused.Pause
	return c, err == nil && !c.Removed
}
