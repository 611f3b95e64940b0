package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// watched is what a watcher is shown, as words.
type watched struct {
	mu    sync.Mutex
	shown []string
	last  millhand.Info
	err   error
	ended chan struct{}
}

func watch(ctx context.Context, c *millhand.Client, ref millhand.Ref) *watched {
	w := &watched{ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		for info, err := range c.Watch(ctx, ref) {
			w.mu.Lock()
			if err != nil {
				w.err = err
				w.mu.Unlock()
				continue
			}
			word := string(info.State)
			if !info.Progress.Time.IsZero() {
				word += fmt.Sprintf(" %d/%d", info.Progress.Done, info.Progress.Total)
			}
			w.shown, w.last = append(w.shown, word), info
			w.mu.Unlock()
		}
	}()
	return w
}

func (w *watched) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(slices.Compact(slices.Clone(w.shown)), ", ")
}

// A job is shown in each of its states, with its progress, to who watches from the beginning and who
// comes later.
func TestWatch(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		ctx, c := t.Context(), client(t, s.Connect(t))
		ref, err := c.Enqueue(ctx, email{To: "a"})
		if err != nil {
			t.Fatal(err)
		}
		early := watch(ctx, c, ref)
		time.Sleep(time.Minute)
		attempt := 0
		mux := millhand.NewMux()
		millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[email]) (string, error) {
			time.Sleep(5 * time.Second)
			for i := range int64(2) {
				j.Progress(i+1, 2, "half of it")
				time.Sleep(10 * time.Second)
			}
			if attempt++; attempt == 1 {
				return "", millhand.RetryAfter(time.Minute, errors.New("not yet"))
			}
			return "sent", nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Name: "mill"})
		time.Sleep(12 * time.Second)
		late := watch(ctx, c, millhand.Ref{Type: ref.Type, ID: ref.ID})
		<-early.ended
		<-late.ended
		told := slices.DeleteFunc(strings.Split(early.said(), ", "), func(word string) bool { return word == "running" })
		if got, want := strings.Join(told, ", "), "ready, running 1/2, running 2/2, retrying, running 1/2, running 2/2, succeeded"; strings.Replace(got, "retrying, ready", "retrying", 1) != want {
			t.Errorf("shown: %s\nwant   %s", got, want)
		}
		if got := late.said(); !strings.HasPrefix(got, "running 1/2, running 2/2, retrying") || !strings.HasSuffix(got, "succeeded") {
			t.Errorf("shown late: %s", got)
		}
		for _, w := range []*watched{early, late} {
			if w.err != nil || string(w.last.Result) != `"sent"` || w.last.Attempt != 2 || len(w.last.Failures) != 1 || w.last.Life != ref.Life {
				t.Errorf("last %+v, %v", w.last, w.err)
			}
		}
	})
}

// Watch ends with what it can tell no more of.
func TestWatchEnds(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), email{To: "a"})
		if err != nil {
			t.Fatal(err)
		}
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(why) })
		stopped := watch(ctx, c, ref)
		<-stopped.ended
		if got := stopped.said(); got != "ready" || !errors.Is(stopped.err, why) {
			t.Errorf("shown %s, %v", got, stopped.err)
		}
		for _, tt := range []struct {
			ref  millhand.Ref
			want error
		}{
			{millhand.Ref{Type: "email", ID: "never"}, millhand.ErrNotFound},
			{millhand.Ref{Type: "email", ID: ref.ID, Life: "another"}, millhand.ErrNoRecord},
			{millhand.Ref{Type: "no.type", ID: "a"}, millhand.ErrInvalid},
		} {
			none := watch(t.Context(), c, tt.ref)
			<-none.ended
			if got := none.said(); got != "" || !errors.Is(none.err, tt.want) {
				t.Errorf("%+v: shown %q, %v", tt.ref, got, none.err)
			}
		}
		for info, err := range c.Watch(t.Context(), ref) { // and whoever has enough goes
			if info.State != millhand.Ready || err != nil {
				t.Errorf("state %s, %v", info.State, err)
			}
			break
		}
		s.Stop()
		away := watch(t.Context(), c, ref)
		time.Sleep(time.Minute)
		s.Start(t)
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		<-away.ended
		if got := away.said(); !strings.HasSuffix(got, "succeeded") || away.err != nil {
			t.Errorf("after an outage: shown %s, %v", got, away.err)
		}
	})
}
