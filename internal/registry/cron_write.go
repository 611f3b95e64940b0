package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// ErrNoEntry says that there is no entry of a name.
var ErrNoEntry = errors.New("no such entry")

// maxCrons is how many entries there may be: every worker keeps them all. Those who put one at the same
// moment may pass it by one each.
const maxCrons = 10_000

// PutCron writes an entry, unless it is there as it is: so it keeps its revision, and "@every" its
// beginning, when each start of a worker puts it again. It returns the entry that was there before,
// whose queue may be another. One more than there may be is refused with an [*job.InvalidError].
func (s *Store) PutCron(ctx context.Context, c Cron) (before Cron, err error) {
	if err := c.Check(); err != nil {
		return Cron{}, err
	}
	room := sync.OnceValue(func() error { return s.checkRoomForCron(ctx, c.Name) })
	var full error
	err = s.set(ctx, cronSetting(c.Name), func(there stream.Entry) ([]byte, bool) {
		before, full = Cron{}, nil
		since := time.Time{}
		if known, err := decodeCron(there); err == nil && there.Value != nil && !known.Removed {
			before = known
			if known.Schedule.String() == c.Schedule.String() && known.Schedule.ZoneName() == c.Schedule.ZoneName() {
				since = known.Schedule.Since()
			}
		}
		paused, isPaused := readPausedCron(there)
		if isPaused && paused.Schedule.String() == c.Schedule.String() && paused.Schedule.ZoneName() == c.Schedule.ZoneName() {
			since = paused.Schedule.Since()
		}
		value := encodeCron(c, since)
		if isPaused { // it stays paused
			value = encodePausedCron(*paused.Paused, value)
			return value, differs(there, value)
		}
		if before.Name == "" {
			if full = room(); full != nil {
				return nil, false
			}
		}
		return value, !same(before, value)
	})
	return before, cmp.Or(full, err)
}

// checkRoomForCron refuses an entry where there are as many as there may be. Removed ones leave a word
// of that, which is counted first since that is one request, and told apart only where it matters.
func (s *Store) checkRoomForCron(ctx context.Context, name string) error {
	written, err := s.bucket.Count(ctx, cronKeys+".*")
	if err != nil || written < maxCrons {
		return err
	}
	there, err := s.Crons(ctx)
	if err != nil || len(there) < maxCrons {
		return err
	}
	return job.Invalid("entry", name, "one too many: there are %d, all of which every worker keeps; remove some, or have one job enqueue the others", len(there))
}

// same reports whether an entry is already what a value says.
func same(there Cron, value []byte) bool {
	if there.Name == "" {
		return false
	}
	return bytes.Equal(encodeCron(there, there.Schedule.Since()), value)
}

// RemoveCron removes an entry, which leaves a word of that: a job of a tick that was published before
// does not start. It returns the entry it as it was, as far as it could be read. It returns
// [ErrNoEntry] if there is none.
func (s *Store) RemoveCron(ctx context.Context, name string) (before Cron, err error) {
	if err := job.CheckCron(name); err != nil {
		return Cron{}, err
	}
	err = s.set(ctx, cronSetting(name), func(there stream.Entry) ([]byte, bool) {
		known, err := decodeCron(there)
		if there.Value == nil || err == nil && known.Removed && pausedOfCron(there) == nil {
			return nil, false
		}
		before = known
		before.Name, before.Rev = name, there.Rev
		return encode(cronValue{Removed: true}), true
	})
	if err == nil && before.Name == "" {
		err = ErrNoEntry
	}
	return before, err
}

// Crons returns all entries that can be read and are not removed, those that are paused included, sorted
// by name.
func (s *Store) Crons(ctx context.Context) ([]Cron, error) {
	entries, err := s.peek(ctx, cronKeys+".*")
	if err != nil {
		return nil, err
	}
	var crons []Cron
	for _, e := range entries {
		c, err := decodeCron(e)
		if paused, ok := readPausedCron(e); ok {
			c, err = paused, nil
		}
		if err == nil && !c.Removed {
			crons = append(crons, c)
		}
	}
	slices.SortFunc(crons, func(a, b Cron) int { return cmp.Compare(a.Name, b.Name) })
	return crons, nil
}
