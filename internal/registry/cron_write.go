package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// ErrNoEntry says that there is no entry of a name.
var ErrNoEntry = errors.New("no such entry")

// PutCron writes an entry, unless it is there as it is: so it keeps its revision, and "@every" its
// beginning, when each start of a worker puts it again. It returns the entry that was there before,
// whose queue may be another.
func (s *Store) PutCron(ctx context.Context, c Cron) (before Cron, err error) {
	if err := c.Check(); err != nil {
		return Cron{}, err
	}
	var failed error
	err = s.set(ctx, cronSetting(c.Name), func(there stream.Entry) ([]byte, bool) {
		before = Cron{}
		since := time.Time{}
		if known, err := decodeCron(there); err == nil && there.Value != nil && !known.Removed {
			before = known
			if known.Schedule.String() == c.Schedule.String() && known.Schedule.ZoneName() == c.Schedule.ZoneName() {
				since = known.Schedule.Since()
			}
		}
		var value []byte
		value, failed = encodeCron(c, since)
		return value, failed == nil && !same(before, value)
	})
	return before, cmp.Or(failed, err)
}

// same reports whether an entry is already what a value says.
func same(there Cron, value []byte) bool {
	if there.Name == "" {
		return false
	}
	as, err := encodeCron(there, there.Schedule.Since())
	return err == nil && bytes.Equal(as, value)
}

// removedFor is how long a removed entry is remembered, so that a job of a tick which was published
// before does not start. No tick is published further ahead than a schedule comes.
const removedFor = 400 * 24 * time.Hour

// RemoveCron removes an entry and returns it as it was, with the revision that ended it. It returns
// [ErrNoEntry] if there is none.
func (s *Store) RemoveCron(ctx context.Context, name string) (before, after Cron, err error) {
	if err := job.CheckCron(name); err != nil {
		return before, after, err
	}
	for {
		there, err := s.bucket.Get(ctx, cronKey(name))
		if errors.Is(err, stream.ErrNotFound) {
			return before, after, ErrNoEntry
		}
		if err != nil {
			return before, after, err
		}
		before, err = decodeCron(there)
		if err == nil && before.Removed {
			return before, before, ErrNoEntry
		}
		w := stream.Write{Key: there.Key, Value: encode(cronValue{Removed: true}), TTL: removedFor, On: there.Key, Rev: there.Rev}
		if _, err := s.bucket.Put(ctx, w); errors.Is(err, stream.ErrConflict) {
			continue
		} else if err != nil {
			return before, after, err
		}
		after, err = s.cron(ctx, name)
		return before, after, err
	}
}

// cron returns an entry, be it removed, as the bucket's leader knows it.
func (s *Store) cron(ctx context.Context, name string) (Cron, error) {
	there, err := s.bucket.Last(ctx, cronKey(name))
	if err != nil {
		return Cron{}, err
	}
	return decodeCron(there)
}

// Crons returns all entries that can be read and are not removed, sorted by name.
func (s *Store) Crons(ctx context.Context) ([]Cron, error) {
	entries, err := s.readOpen(ctx, cronKeys+".*")
	if err != nil {
		return nil, err
	}
	var crons []Cron
	for _, e := range entries {
		if c, err := decodeCron(e); err == nil && !c.Removed {
			crons = append(crons, c)
		}
	}
	slices.SortFunc(crons, func(a, b Cron) int { return cmp.Compare(a.Name, b.Name) })
	return crons, nil
}
