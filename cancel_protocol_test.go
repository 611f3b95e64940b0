package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// cancelWorld is a queue whose jobs are cancelled at every point of their lives, while they run, fail,
// snooze, wait and are handed back, by callers that die at any step.
type cancelWorld struct {
	t      *testing.T
	server *natstest.Server
	client *millhand.Client
	rnd    *rand.Rand
	refs   []millhand.Ref

	mu     sync.Mutex
	sure   map[string]bool // by id: whoever cancelled it was told that it does not start
	wrong  []string
	parts  sync.WaitGroup
	starts int
}

// handle is one run: of some length, with some end.
func (w *cancelWorld) handle(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	w.mu.Lock()
	w.starts++
	if w.sure[j.ID] {
		w.wrong = append(w.wrong, fmt.Sprintf("job %s started after it was cancelled", j.ID))
	}
	length, end := time.Duration(w.rnd.IntN(400))*time.Millisecond, w.rnd.IntN(5)
	pause := time.Duration(w.rnd.IntN(3000)) * time.Millisecond
	w.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
	switch end {
	case 0:
		return nil, millhand.Snooze(pause)
	case 1:
		return nil, millhand.HandBack(errors.New("not here"))
	case 2, 3:
		return nil, millhand.RetryAfter(pause, errors.New("boom"))
	}
	return nil, nil
}

// cancel cancels a job over a connection that may break for good after some messages.
func (w *cancelWorld) cancel(ref millhand.Ref) {
	link := w.server.Link()
	nc := link.Connect(w.t)
	c := client(w.t, nc)
	w.mu.Lock()
	left := w.rnd.IntN(40) // the caller dies after so many; often it does not
	w.mu.Unlock()
	link.Watch(func(string) natstest.Fate {
		if left--; left == 0 {
			link.Down()
			return natstest.CutAfter
		}
		return natstest.Pass
	})
	w.parts.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		done, err := c.Cancel(ctx, ref)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil && done.Worker == "" && len(done.Unanswered) == 0 {
			w.sure[ref.ID] = true
		}
	})
}

func (w *cancelWorld) work() (stop func() error) {
	mux := millhand.NewMux()
	mux.HandleFunc("work", w.handle)
	_, stop = start(w.t, w.server.Connect(w.t), millhand.WorkerConfig{Mux: mux, Concurrency: 2, AckWait: millhand.MinAckWait})
	return stop
}

// run is a random history.
func (w *cancelWorld) run() {
	stop := w.work()
	w.work()
	for i := range 12 {
		var opts []millhand.EnqueueOption
		w.mu.Lock()
		if w.rnd.IntN(2) == 0 {
			opts = append(opts, millhand.WithDelay(time.Duration(w.rnd.IntN(15000))*time.Millisecond))
		}
		w.mu.Unlock()
		ref, err := w.client.Enqueue(w.t.Context(), millhand.Raw{Name: "work"}, append(opts, millhand.WithID(strconv.Itoa(i)), millhand.WithMaxAttempts(4))...)
		if err != nil {
			w.t.Fatal(err)
		}
		w.refs = append(w.refs, ref)
	}
	for range 20 {
		w.mu.Lock()
		pause, ref := time.Duration(w.rnd.IntN(500))*time.Millisecond, w.refs[w.rnd.IntN(len(w.refs))]
		restart := w.rnd.IntN(8) == 0
		w.mu.Unlock()
		time.Sleep(pause)
		w.cancel(ref)
		if restart {
			if err := stop(); err != nil {
				w.t.Error(err)
			}
			stop = w.work()
		}
	}
	w.parts.Wait()
	time.Sleep(5 * time.Minute) // workers carry out what callers left
}

// check finds one end of each life, and nothing behind it.
func (w *cancelWorld) check() {
	st := openStream(w.t, jetStream(w.t, w.server.Connect(w.t)), "millhand-events")
	finals := []string{"succeeded", "dead", "cancelled"}
	for _, ref := range w.refs {
		ends, info := 0, st.CachedInfo()
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
			m, err := st.GetMsg(w.t.Context(), seq)
			if err != nil || m.Subject != "millhand.event.default.work."+ref.ID {
				continue
			}
			switch {
			case ends > 0:
				w.t.Errorf("job %s: %s after its end", ref.ID, m.Data)
			case slices.Contains(finals, m.Header.Get("Millhand-Event")):
				ends++
			}
		}
		if ends != 1 {
			w.t.Errorf("job %s has %d ends", ref.ID, ends)
		}
	}
	for info, err := range w.client.Jobs(w.t.Context(), millhand.JobFilter{}) {
		w.t.Errorf("left: %+v, %v", info, err)
	}
	for _, what := range w.wrong {
		w.t.Error(what)
	}
	if w.starts == 0 {
		w.t.Error("no job has started")
	}
}

// However a job is cancelled, and whoever dies meanwhile, it ends once, and does not start after that
// was said.
func TestCancelAtAnyPoint(t *testing.T) {
	histories := uint64(6)
	if testing.Short() {
		histories = 3
	}
	sure := 0
	for seed := range histories {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				w := &cancelWorld{
					t: t, server: s, client: client(t, s.Connect(t)), rnd: rand.New(rand.NewPCG(seed, 37)), sure: make(map[string]bool),
				}
				w.run()
				w.check()
				sure += len(w.sure)
			})
		})
	}
	if sure == 0 {
		t.Error("no job was cancelled for sure before it started, in any history")
	}
}
