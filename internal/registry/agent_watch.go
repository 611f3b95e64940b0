package registry

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/supervisor"
)

// watch follows the settings. It is ready once the agent has acted on all there are, or has
// tried: neither presence nor permits keep jobs waiting that need none.
func (a *Agent) watch(ctx context.Context, ready func()) error {
	w := &settingsWatcher{agent: a, ready: ready}
	defer w.waiting.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watch := a.store.bucket.Watch(w, settingFilters(a.cfg.Node)...)
	if a.settings.Swap(watch) != nil { // one before has crashed: jobs start by what it told
		watch.Hurry()
	}
	err := watch.Run(ctx)
	if ctx.Err() != nil {
		return supervisor.ErrShutdown
	}
	return err
}

// A settingsWatcher hands the settings to the agent's server.
type settingsWatcher struct {
	agent   *Agent
	ready   func() // nil once somebody waits to call it
	waiting sync.WaitGroup
}

// Changed implements [stream.Watcher].
func (w *settingsWatcher) Changed(ctx context.Context, e stream.Entry) error {
	return w.agent.server.Cast(ctx, changed{e})
}

// Synced implements [stream.Watcher].
func (w *settingsWatcher) Synced(ctx context.Context) error {
	acted, err := supervisor.Call(ctx, w.agent.server, func(r supervisor.Reply[<-chan struct{}]) message { return synced{r} })
	if err != nil {
		return err
	}
	w.agent.troubles.ended(ctx, withSettings)
	if ready := w.ready; ready != nil {
		w.ready = nil
		w.waiting.Go(func() {
			select {
			case <-acted:
				ready()
			case <-ctx.Done():
			}
		})
	}
	return nil
}

// Failed implements [stream.Watcher].
func (w *settingsWatcher) Failed(ctx context.Context, err error) {
	w.agent.troubles.has(ctx, withSettings, err)
}

// Lost implements [stream.Watcher]: the settings are written again.
func (w *settingsWatcher) Lost(ctx context.Context, entries []stream.Entry) error {
	errs := make(chan error, len(entries))
	each(entries, func(e stream.Entry) { errs <- w.agent.putBack(ctx, e) })
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// putBack writes a setting into a bucket that was made again, unless somebody has. With the
// bucket went the grants, but not at once what they allow: until that is over, nobody gets
// anything, since somebody who is not there has it all.
func (a *Agent) putBack(ctx context.Context, e stream.Entry) error {
	what := setting{key: e.Key, on: e.Key}
	if k, last, ok := parseGrantKey(e.Key); ok && last == limitToken {
		what = settingOf(k)
		l, _ := decodeLimitOf(k, e.Value)
		all, err := json.Marshal(Grant{Held: l.Jobs, Used: l.Jobs, Need: l.Jobs, Want: l.Jobs})
		if err != nil {
			return err
		}
		w := stream.Write{Key: grantKey(k, lostToken), Value: all, TTL: keyTTL(a.cfg.TTL, l)}
		if err := a.store.putFirst(ctx, w); err != nil && !errors.Is(err, stream.ErrConflict) {
			return err
		}
	}
	left, over := pauseLeft(e)
	if over {
		return nil
	}
	if e.Key == drainKey(a.cfg.Node) {
		left = drainTTL
	}
	err := a.store.putFirst(ctx, stream.Write{Key: e.Key, Value: e.Value, TTL: left})
	if errors.Is(err, stream.ErrConflict) {
		return a.putBackOver(ctx, what, e)
	}
	return err
}

// putBackOver has what a person set before the bucket was lost replace what a worker that just
// started has written into the new one from its configuration.
func (a *Agent) putBackOver(ctx context.Context, what setting, e stream.Entry) error {
	if sourceOf(e.Value) != ByPerson {
		return nil
	}
	there, err := a.store.bucket.Get(ctx, e.Key)
	if errors.Is(err, stream.ErrNotFound) { // somebody removed it from the new bucket
		return nil
	}
	if err != nil || sourceOf(there.Value) == ByPerson {
		return err
	}
	return a.store.setOnce(ctx, what, func(there stream.Entry) ([]byte, bool) {
		return e.Value, there.Value != nil && sourceOf(there.Value) != ByPerson
	})
}
