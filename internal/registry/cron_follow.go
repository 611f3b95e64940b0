package registry

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/supervisor"
)

// A CronFollower keeps up with the entries of schedules. It is safe for concurrent use.
type CronFollower struct {
	store   *Store
	changed chan struct{} // capacity 1

	mu     sync.Mutex
	crons  map[string]Cron // removed ones as well
	silent time.Time       // until then nothing is asked of the broker, which has not answered
}

// cronSilence is how long a follower goes by what it has heard after the broker did not answer: jobs wait
// for that.
const cronSilence = 5 * time.Second

// FollowCrons returns a follower that does not run yet.
func (s *Store) FollowCrons() *CronFollower {
	return &CronFollower{store: s, changed: make(chan struct{}, 1), crons: make(map[string]Cron)}
}

// RunReady follows until ctx ends, and is ready once all entries are known.
func (f *CronFollower) RunReady(ctx context.Context, ready func()) error {
	err := f.store.bucket.Watch(&cronWatcher{f, ready}, cronKeys+".*").Run(ctx)
	if ctx.Err() != nil {
		return supervisor.ErrShutdown
	}
	return err
}

// Changed says that an entry is another than before.
func (f *CronFollower) Changed() <-chan struct{} { return f.changed }

// All returns all entries as they are known, removed ones as well, sorted by name.
func (f *CronFollower) All() []Cron {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Cron, 0, len(f.crons))
	for _, name := range slices.Sorted(maps.Keys(f.crons)) {
		all = append(all, f.crons[name])
	}
	return all
}

// Get returns an entry as it is known, be it removed.
func (f *CronFollower) Get(name string) (c Cron, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, known = f.crons[name]
	return c, known
}

// Read returns an entry as the broker has it, be it removed.
func (f *CronFollower) Read(ctx context.Context, name string) (Cron, error) {
	e, err := f.store.bucket.Last(ctx, cronKey(name))
	if err != nil {
		return Cron{}, err
	}
	return decodeCron(e)
}

// Newest returns an entry as the broker has it, so that an edit which was answered holds for whoever asks
// after that, however far behind this follower is. If that cannot be read, it is as it was heard of.
func (f *CronFollower) Newest(ctx context.Context, name string) (c Cron, known bool) {
	f.mu.Lock()
	silent := time.Now().Before(f.silent)
	f.mu.Unlock()
	if silent {
		return f.Get(name)
	}
	c, err := f.Read(ctx, name)
	switch {
	case err == nil:
		return c, true
	case isSilence(err) && ctx.Err() == nil:
		f.mu.Lock()
		f.silent = time.Now().Add(cronSilence)
		f.mu.Unlock()
	}
	return f.Get(name)
}

// know takes in an entry that is newer than what is known.
func (f *CronFollower) know(c Cron) {
	f.mu.Lock()
	f.crons[c.Name] = c
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// A cronWatcher hands entries to a follower.
type cronWatcher struct {
	*CronFollower
	ready func()
}

// Changed implements [stream.Watcher]. What cannot be read is not gone: what was known before holds.
func (w *cronWatcher) Changed(ctx context.Context, e stream.Entry) error {
	c, err := decodeCron(e)
	if err != nil {
		w.store.log.ErrorContext(ctx, "an entry of a schedule cannot be read: what was known of it before holds",
			slog.String("bucket", w.store.bucket.Name()), slog.String("key", e.Key), slog.Any("err", err))
		return nil
	}
	w.know(c)
	return nil
}

// Synced implements [stream.Watcher].
func (w *cronWatcher) Synced(context.Context) error {
	if ready := w.ready; ready != nil {
		w.ready = nil
		ready()
	}
	return nil
}

// Failed implements [stream.Watcher]. The agent says that the registry cannot be followed.
func (w *cronWatcher) Failed(context.Context, error) {}

// Lost implements [stream.Watcher]: the entries are written again, with what they count from, and those
// that are paused as they are.
func (w *cronWatcher) Lost(ctx context.Context, entries []stream.Entry) error {
	for _, e := range entries {
		c, err := decodeCron(e)
		value := e.Value
		switch {
		case err != nil || c.Removed && pausedOfCron(e) == nil:
			continue
		case !c.Removed:
			value = encodeCron(c, c.Schedule.Since())
		}
		err = w.store.putFirst(ctx, stream.Write{Key: e.Key, Value: value})
		if err != nil && !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
	return nil
}
