package queue

import (
	"context"
	"log/slog"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// Pauses after a look at last events that failed.
const (
	blindFirst = time.Second
	blindMost  = time.Minute
)

// isLookWorth reports whether the id of t may have had lives before, of which it knows nothing: then
// its event, which is to be the first of the id, would be refused.
func (t *settlement) isLookWorth() bool {
	return t.Reused && t.lastEvent == 0 && t.From == "" && !t.confirmed
}

// look reads the last events of the ids of ts, which have ended since somebody looked last, and has
// them settled. It asks any replica, with one request for all of them. What that does not know, or
// is no regular end of an older life, is left to be found out by a refusal.
func (s *Settler) look(ctx context.Context, ts []*settlement) {
	defer s.tracker.looked(ts)
	if time.Now().Before(s.blindUntil) {
		return
	}
	places := make([]job.Place, len(ts))
	for i, t := range ts {
		places[i] = t.place
	}
	last, err := s.store.LastEvents(ctx, places)
	if err != nil {
		s.blindFor = min(max(2*s.blindFor, blindFirst), blindMost)
		s.blindUntil = time.Now().Add(s.blindFor)
		s.log.DebugContext(ctx, "last events of ids that were used before cannot be read together: each is found out by itself", slog.Any("err", err))
		return
	}
	s.blindFor = 0
	for _, t := range ts {
		if e := last[t.place]; e != nil && t.follows(e) {
			t.lastEvent = e.Sequence
		}
	}
}
