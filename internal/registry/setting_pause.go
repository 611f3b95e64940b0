package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A Pause keeps all nodes from taking jobs of a queue, or of one type in it.
type Pause struct {
	Since  time.Time `json:"since,omitzero"`   // zero: that cannot be read
	By     string    `json:"by,omitempty"`     // who paused it; empty: not known
	Reason string    `json:"reason,omitempty"` // what for
	Until  time.Time `json:"until,omitzero"`   // when it ends by itself; zero: never
}

// The bounds of a pause.
const (
	MaxPauseReason = 1 << 10 // bytes
	MinPause       = time.Second
	MaxPause       = 366 * 24 * time.Hour
)

// Pause keeps all nodes from taking jobs of a queue, until Resume. What runs goes on. A pause that is
// there stays as it is.
func (s *Store) Pause(ctx context.Context, queue string) error {
	if err := job.CheckQueue(queue); err != nil {
		return err
	}
	pause := encode(Pause{Since: time.Now().UTC(), By: s.by()})
	return s.set(ctx, pauseSetting(queue, ""), func(there stream.Entry) ([]byte, bool) {
		return pause, there.Value == nil // the first one says since when
	})
}

// PauseFor is Pause with a reason, for a time or, if that is 0, until Resume. Of a queue that is
// paused it changes reason and end, and who paused it, but not since when it is. The end is the
// broker's to make: the key expires, whoever is there.
func (s *Store) PauseFor(ctx context.Context, queue, reason string, d time.Duration) error {
	if err := job.CheckQueue(queue); err != nil {
		return err
	}
	return s.pauseFor(ctx, pauseSetting(queue, ""), reason, d)
}

// PauseType is [Store.PauseFor] for one type in a queue. Nodes of earlier versions do not know of such a
// pause and go on: they are those that do not say what they have in hand by type.
func (s *Store) PauseType(ctx context.Context, queue, typ, reason string, d time.Duration) error {
	if err := cmp.Or(job.CheckQueue(queue), job.CheckType(typ)); err != nil {
		return err
	}
	return s.pauseFor(ctx, pauseSetting(queue, typ), reason, d)
}

func (s *Store) pauseFor(ctx context.Context, what setting, reason string, d time.Duration) error {
	switch {
	case len(reason) > MaxPauseReason:
		return job.Invalid("reason of a pause", "", "has %d bytes, and at most %d are kept", len(reason), MaxPauseReason)
	case d != 0 && (d < MinPause || d > MaxPause):
		return job.Invalid("pause", d, "must be from %v to %v, or 0 for no end", MinPause, MaxPause)
	}
	p := Pause{Since: time.Now().UTC(), By: s.by(), Reason: reason}
	if d > 0 {
		what.ttl = d.Round(time.Second)
		p.Until = p.Since.Add(what.ttl)
	}
	return s.set(ctx, what, func(there stream.Entry) ([]byte, bool) {
		if before, ok := decodePause(there.Value); ok && !before.Since.IsZero() {
			p.Since = before.Since
		}
		return encode(p), true
	})
}

// Resume ends the pause of a queue. Types that are paused in it stay so.
func (s *Store) Resume(ctx context.Context, queue string) error {
	if err := job.CheckQueue(queue); err != nil {
		return err
	}
	return s.set(ctx, pauseSetting(queue, ""), to(nil))
}

// ResumeType ends the pause of a type in a queue.
func (s *Store) ResumeType(ctx context.Context, queue, typ string) error {
	if err := cmp.Or(job.CheckQueue(queue), job.CheckType(typ)); err != nil {
		return err
	}
	return s.set(ctx, pauseSetting(queue, typ), to(nil))
}

// by is who writes through this store: connections are named after that.
func (s *Store) by() string { return cmp.Or(s.person, s.nc.Opts.Name) }

// Paused returns the paused queues.
func (s *Store) Paused(ctx context.Context) (map[string]Pause, error) {
	queues, _, err := s.PausedParts(ctx)
	return queues, err
}

// PausedParts returns the paused queues, and the types that are paused by themselves, by [LoadOf].
func (s *Store) PausedParts(ctx context.Context) (queues, types map[string]Pause, err error) {
	entries, err := s.peek(ctx, pauseKeys+".*", pauseKeys+".*.*")
	if err != nil {
		return nil, nil, err
	}
	queues, types = pausedOf(entries)
	return queues, types, nil
}

// pausedOf reads the paused queues, and the types by [LoadOf], from entries among which may be others.
func pausedOf(entries []stream.Entry) (queues, types map[string]Pause) {
	queues, types = make(map[string]Pause), make(map[string]Pause)
	for _, e := range entries {
		queue, typ, ok := parsePauseKey(e.Key)
		if !ok || e.Value == nil {
			continue
		}
		p, _ := decodePause(e.Value)
		if typ == "" {
			queues[queue] = p
		} else {
			types[LoadOf(queue, typ)] = p
		}
	}
	return queues, types
}

// pauseLeft returns for how long a pause goes on that ends by itself, 0 for any other entry; and
// whether it is over.
func pauseLeft(e stream.Entry) (left time.Duration, over bool) {
	p, ok := decodePause(e.Value)
	if !ok || p.Until.IsZero() || !strings.HasPrefix(e.Key, pauseKeys+".") {
		return 0, false
	}
	left = time.Until(p.Until).Round(time.Second)
	return max(left, MinPause), left <= 0
}

// decodePause reads a pause; false if it cannot be read.
func decodePause(b []byte) (Pause, bool) {
	var p Pause
	if err := json.Unmarshal(b, &p); err != nil {
		return Pause{}, false
	}
	return p, true
}
