package stream

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/natstest"
)

// A seen watcher keeps what it is told.
type seen struct {
	bucket *Bucket
	stop   error // what Changed returns, once

	mu      sync.Mutex
	keys    map[string]string
	changes int
	synced  int
	failed  []error
	lost    int
}

func (w *seen) Changed(ctx context.Context, e Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes++
	if w.keys[e.Key] = string(e.Value); e.Value == nil {
		delete(w.keys, e.Key)
	}
	if ctx.Err() != nil {
		return errors.New("told with a context that has ended")
	}
	return w.stop
}

func (w *seen) Synced(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.synced++
	return nil
}

func (w *seen) Failed(_ context.Context, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, err)
}

// Lost writes again what is kept.
func (w *seen) Lost(ctx context.Context, entries []Entry) error {
	w.mu.Lock()
	w.lost++
	w.mu.Unlock()
	for _, e := range entries {
		if !strings.HasPrefix(e.Key, "k.kept") {
			continue
		}
		if _, err := w.bucket.Put(ctx, Write{Key: e.Key, Value: e.Value, On: e.Key}); err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return nil
}

func (w *seen) is(want map[string]string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Equal(w.keys, want)
}

// watch runs a watch of k.* over the link, until the test ends.
func (s *scene) watch() (*seen, *Watch) {
	b := s.bucket(s.client)
	w := &seen{bucket: b, keys: make(map[string]string)}
	watch := b.Watch(w, "k.*")
	ctx, stop := context.WithCancel(s.ctx)
	var ended sync.WaitGroup
	ended.Go(func() { _ = watch.Run(ctx) })
	s.t.Cleanup(func() { stop(); ended.Wait() })
	return w, watch
}

func (s *scene) check(w *seen, want map[string]string) {
	s.t.Helper()
	if !w.is(want) {
		s.t.Errorf("told %v, want %v", w.keys, want)
	}
}

func (s *scene) remove(key string) {
	s.t.Helper()
	if _, err := s.bucket(s.other).Put(s.ctx, Write{Key: key, Remove: true}); err != nil {
		s.t.Fatal(err)
	}
}

func TestWatchTellsWhatThereIsAndHowItChanges(t *testing.T) {
	inScene(t, func(s *scene) {
		if _, err := s.bucket(s.other).Open(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		s.put("k.a", "1")
		s.put("other.a", "1")
		s.remove("k.gone")
		w, _ := s.watch()
		time.Sleep(time.Second)
		s.check(w, map[string]string{"k.a": "1"})
		if w.synced != 1 || w.changes != 1 || len(w.failed) > 0 {
			s.t.Errorf("%d times synced after %d changes, and %v", w.synced, w.changes, w.failed)
		}
		s.put("k.a", "2")
		s.put("k.b", "1")
		time.Sleep(time.Second)
		s.check(w, map[string]string{"k.a": "2", "k.b": "1"})
		s.remove("k.a")
		time.Sleep(time.Second)
		s.check(w, map[string]string{"k.b": "1"})
	})
}

// Whatever the watch loses, it tells in the end what there is.
func TestWatchMissesNothing(t *testing.T) {
	for name, trouble := range map[string]func(s *scene, w *Watch){
		"a cut connection": func(s *scene, _ *Watch) { s.link.Cut() },
		"a lost consumer": func(s *scene, _ *Watch) {
			st, err := s.other.js.Stream(s.ctx, "KV_millhand-registry")
			if err != nil {
				s.t.Fatal(err)
			}
			for name := range st.ConsumerNames(s.ctx).Name() {
				if err := st.DeleteConsumer(s.ctx, name); err != nil {
					s.t.Fatal(err)
				}
			}
		},
		"a restart":                    func(_ *scene, w *Watch) { w.Restart() },
		"a restart, and lost requests": func(s *scene, w *Watch) { s.fate("$JS.API.CONSUMER.CREATE", natstest.Lost); w.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				w, watch := s.watch()
				time.Sleep(time.Second)
				s.put("k.stays", "1")
				s.put("k.goes", "1")
				time.Sleep(time.Second)
				trouble(s, watch)
				s.put("k.stays", "2")
				s.put("k.comes", "1")
				s.remove("k.goes")
				time.Sleep(10 * time.Second)
				s.check(w, map[string]string{"k.stays": "2", "k.comes": "1"})
			})
		})
	}
}

// A watch that begins again and again while keys are written tells each last value.
func TestWatchRestartsUnderLoad(t *testing.T) {
	inScene(t, func(s *scene) {
		w, watch := s.watch()
		time.Sleep(time.Second)
		want := make(map[string]string)
		for i := range 200 {
			key := "k." + strconv.Itoa(i%20)
			if i%7 == 0 {
				s.remove(key)
				delete(want, key)
			} else {
				s.put(key, strconv.Itoa(i))
				want[key] = strconv.Itoa(i)
			}
			if i%10 == 0 {
				watch.Restart()
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		s.check(w, want)
		if len(w.failed) > 0 {
			s.t.Errorf("a restart is no failure: %v", w.failed)
		}
	})
}

// A bucket that is lost is said to be, once, and what the watcher writes again is there.
func TestWatchOfALostBucket(t *testing.T) {
	inScene(t, func(s *scene) {
		w, _ := s.watch()
		time.Sleep(time.Second)
		s.put("k.kept-1", "1")
		s.put("k.kept-2", "1")
		s.put("k.not", "1")
		time.Sleep(time.Second)
		s.loseStream("KV_millhand-registry")
		time.Sleep(10 * time.Second)
		s.check(w, map[string]string{"k.kept-1": "1", "k.kept-2": "1"})
		if w.lost != 1 || s.log.count("had lost a bucket") != 1 {
			s.t.Errorf("told %d times, and logged %d times", w.lost, s.log.count("had lost a bucket"))
		}
		s.put("k.kept-1", "2")
		time.Sleep(time.Second)
		s.check(w, map[string]string{"k.kept-1": "2", "k.kept-2": "1"})
	})
}

// More keys than one answer of the broker can have are followed like a few: from the start, over a
// lost connection, and into a bucket that is made again.
func TestWatchOfManyKeys(t *testing.T) {
	inScene(t, func(s *scene) {
		if _, err := s.bucket(s.other).Open(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		want := make(map[string]string)
		for i := range 3 * PageSize {
			key := "k.kept-" + strconv.Itoa(i)
			s.put(key, "1")
			want[key] = "1"
		}
		w, _ := s.watch()
		time.Sleep(time.Second)
		s.check(w, want)

		s.link.Cut()
		s.remove("k.kept-1")
		delete(want, "k.kept-1")
		s.put("k.kept-2", "2")
		want["k.kept-2"] = "2"
		time.Sleep(10 * time.Second)
		s.check(w, want)

		s.loseStream("KV_millhand-registry")
		time.Sleep(10 * time.Second)
		s.put("k.kept-3", "3")
		want["k.kept-3"] = "3"
		time.Sleep(time.Second)
		s.check(w, want)
		if w.lost != 1 {
			s.t.Errorf("told %d times of the loss", w.lost)
		}
	})
}

func TestWatcherEndsTheWatch(t *testing.T) {
	inScene(t, func(s *scene) {
		if _, err := s.bucket(s.other).Open(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		s.put("k.a", "1")
		enough := errors.New("enough")
		w := &seen{keys: make(map[string]string), stop: enough}
		if err := s.bucket(s.client).Watch(w, "k.*").Run(s.ctx); err != enough { //nolint:errorlint // the very error
			s.t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancelCause(s.ctx)
		cancel(enough)
		w.stop = nil
		if err := s.bucket(s.client).Watch(w, "k.*").Run(ctx); err != enough { //nolint:errorlint // the very error
			s.t.Errorf("after the end of the context: %v", err)
		}
	})
}

// A watch that was told to hurry is not kept behind by a lost answer.
func TestHurriedWatch(t *testing.T) {
	inScene(t, func(s *scene) {
		if _, err := s.bucket(s.other).Open(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		s.put("k.a", "1")
		for hurried, patience := range map[bool]time.Duration{true: watchPatience, false: bucketTimeout} {
			s.fate("$JS.API.DIRECT.GET", natstest.Lost)
			w := &seen{keys: make(map[string]string), stop: errors.New("told")}
			watch := s.bucket(s.client).Watch(w, "k.*")
			if hurried {
				watch.Hurry()
			}
			began := time.Now()
			_ = watch.Run(s.ctx)
			if took := time.Since(began); took < patience || took > patience+2*watchPause || len(w.failed) != 1 {
				s.t.Errorf("hurried: %t: told after %v, want about %v; and %v", hurried, took, patience, w.failed)
			}
		}
	})
}
