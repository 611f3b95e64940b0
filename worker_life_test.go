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

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// causes collects why handlers were told to stop.
type causes struct {
	mu  sync.Mutex
	all []error
}

func (c *causes) add(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, err)
}

func (c *causes) list() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.all)
}

// waits is a handler that takes so long, unless it is told to stop.
func (c *causes) waits(d time.Duration) func(context.Context, *millhand.Job[email]) error {
	return func(ctx context.Context, _ *millhand.Job[email]) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			c.add(context.Cause(ctx))
			return context.Cause(ctx)
		}
	}
}

// kinds is what happened to a job, in words.
func kinds(t *testing.T, c *millhand.Client) func(millhand.Ref) string {
	t.Helper()
	var mu sync.Mutex
	words := make(map[string][]string)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for e, err := range c.Events(ctx, time.Time{}) {
			if err != nil {
				t.Errorf("events: %v", err)
				return
			}
			mu.Lock()
			words[e.Life] = append(words[e.Life], string(e.Kind))
			mu.Unlock()
		}
	}()
	time.Sleep(100 * time.Millisecond)
	return func(r millhand.Ref) string {
		time.Sleep(100 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(words[r.Life], " ")
	}
}

func muxOf(h func(context.Context, *millhand.Job[email]) error) *millhand.Mux {
	mux := millhand.NewMux()
	millhand.Handle(mux, h)
	return mux
}

func enqueue(t *testing.T, c *millhand.Client, opts ...millhand.EnqueueOption) millhand.Ref {
	t.Helper()
	ref, err := c.Enqueue(t.Context(), email{}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// A job that is handed back by one drain after the other is never counted as failed or
// crashed, however often.
func TestManyDrainsBurnNothing(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var c causes
		client := client(t, s.Connect(t))
		happened := kinds(t, client)
		ref := enqueue(t, client)
		for range 12 {
			w, stop := start(t, s.Link().Connect(t), millhand.WorkerConfig{Mux: muxOf(c.waits(time.Hour))})
			time.Sleep(5 * time.Second)
			w.StopNow()
			if err := stop(); !errors.Is(err, millhand.ErrDrainTimeout) {
				t.Fatalf("Run = %v, want ErrDrainTimeout", err)
			}
		}
		info, err := client.Get(t.Context(), ref)
		if err != nil || info.State != millhand.Ready || info.Attempt != 1 || info.Crashes != 0 || len(info.Failures) != 0 {
			t.Errorf("Get = %+v, %v", info, err)
		}
		if got, want := happened(ref), strings.TrimSpace(strings.Repeat("handed_back ", 12)); got != want {
			t.Errorf("events %s", got)
		}
		for _, err := range c.list() {
			if !errors.Is(err, millhand.ErrHandedBack) {
				t.Errorf("a handler was stopped by %v", err)
			}
		}
	})
}

// A drain lets running jobs finish, starts no other, and ends as soon as it can.
func TestDrainFinishesWhatRuns(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var c causes
		client := client(t, s.Connect(t))
		happened := kinds(t, client)
		_, stop := start(t, s.Link().Connect(t), millhand.WorkerConfig{Mux: muxOf(c.waits(10 * time.Second)), Concurrency: 2})
		time.Sleep(time.Second)
		var refs []millhand.Ref
		for range 5 {
			refs = append(refs, enqueue(t, client))
		}
		time.Sleep(time.Second)
		began := time.Now()
		if err := stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("drained in %v, want 9 s", took)
		}
		ended := 0
		for _, r := range refs {
			switch got := happened(r); got {
			case "succeeded":
				ended++
			case "":
			default:
				t.Errorf("events %s", got)
			}
		}
		if ended != 2 {
			t.Errorf("%d jobs ended, want the 2 that ran", ended)
		}
	})
}

// A worker that was stopped for longer than its lease wakes, is told, and settles nothing;
// the job has gone on elsewhere.
func TestFrozenWorkerLosesItsJob(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var frozen, other causes
		client := client(t, s.Connect(t))
		happened := kinds(t, client)
		l := s.Link()
		start(t, l.Connect(t), millhand.WorkerConfig{Mux: muxOf(frozen.waits(time.Hour))})
		time.Sleep(time.Second)
		ref := enqueue(t, client)
		time.Sleep(time.Minute)
		l.Hold()
		start(t, s.Link().Connect(t), millhand.WorkerConfig{Mux: muxOf(other.waits(time.Minute))})
		time.Sleep(35 * time.Second)
		l.Release()
		if info, err := client.Await(t.Context(), ref); err != nil || info.Crashes != 1 || info.Attempt != 1 {
			t.Errorf("Await = %+v, %v", info, err)
		}
		if got := frozen.list(); len(got) != 1 || !errors.Is(got[0], millhand.ErrLeaseLost) {
			t.Errorf("the frozen handler was stopped by %v", got)
		}
		if got := happened(ref); got != "lost succeeded" {
			t.Errorf("events %s", got)
		}
	})
}

// An outage shorter than the lease costs nothing; a longer one costs the lease, and the job
// runs again.
func TestBrokerAway(t *testing.T) {
	tests := []struct {
		away  time.Duration
		want  string
		cause error
	}{
		{15 * time.Second, "succeeded", nil},
		{5 * time.Minute, "lost succeeded", millhand.ErrLeaseLost},
	}
	for _, tt := range tests {
		t.Run(tt.away.String(), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				var c causes
				client := client(t, s.Link().Connect(t))
				start(t, s.Link().Connect(t), millhand.WorkerConfig{Mux: muxOf(c.waits(2 * time.Minute))})
				time.Sleep(time.Second)
				ref := enqueue(t, client)
				time.Sleep(30 * time.Second)
				s.Stop()
				time.Sleep(tt.away)
				s.Start(t)
				time.Sleep(time.Second)
				if _, err := client.Await(t.Context(), ref); err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, m := range stored(t, s, "millhand-events") {
					got = append(got, m.Header.Get("Millhand-Event"))
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("events %s, want %s", got, tt.want)
				}
				switch told := c.list(); {
				case tt.cause == nil && len(told) > 0, tt.cause != nil && (len(told) != 1 || !errors.Is(told[0], tt.cause)):
					t.Errorf("handlers were stopped by %v, want %v", told, tt.cause)
				}
			})
		})
	}
}

// A broker that comes back without its data: streams are made again and work goes on.
func TestBrokerLosesItsData(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		client := client(t, s.Link().Connect(t))
		start(t, s.Link().Connect(t), millhand.WorkerConfig{Mux: muxOf(func(context.Context, *millhand.Job[email]) error { return nil })})
		time.Sleep(time.Second)
		if _, err := client.Await(t.Context(), enqueue(t, client)); err != nil {
			t.Fatal(err)
		}
		js := jetStream(t, s.Connect(t))
		for _, name := range []string{"millhand-queue-default", "millhand-events", "millhand-dead"} {
			if err := js.DeleteStream(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		ref := enqueue(t, client) // makes them, or the worker does
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := client.Await(ctx, ref); err != nil {
			t.Errorf("Await = %v", err)
		}
	})
}

// A job that kills its worker each time ends dead, with a reason.
func TestPoisonJobEndsDead(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		client := client(t, s.Connect(t))
		ref := enqueue(t, client)
		runs := 0
		kill := make(chan struct{}, 1)
		for range 8 {
			l := s.Link()
			nc := l.Connect(t)
			w, stop := start(t, nc, millhand.WorkerConfig{Mux: muxOf(func(ctx context.Context, _ *millhand.Job[email]) error {
				kill <- struct{}{}
				<-ctx.Done()
				return nil
			})})
			select {
			case <-kill:
				runs++
			case <-time.After(2 * time.Minute):
			}
			l.Down()
			l.Cut()
			nc.Close()
			w.StopNow()
			_ = stop()
		}
		_, err := client.Await(t.Context(), ref)
		if failed, ok := errors.AsType[*millhand.FailedError](err); !ok || failed.Reason != "crashed" || runs != 6 {
			t.Errorf("Await = %v after %d runs", err, runs)
		}
	})
}

// Two jobs with one id, from a publisher who does not ask: both end, with all retries.
func TestTwoPlainPublishesOfOneID(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		js := jetStream(t, nc)
		var mu sync.Mutex
		runs := make(map[string]int)
		start(t, s.Link().Connect(t), millhand.WorkerConfig{Mux: muxOf(func(_ context.Context, j *millhand.Job[email]) error {
			mu.Lock()
			defer mu.Unlock()
			if runs[j.Args.To]++; runs[j.Args.To] < 3 {
				return fmt.Errorf("%s fails", j.Args.To)
			}
			return nil
		})})
		time.Sleep(time.Second)
		for _, to := range []string{"first", "second"} {
			if _, err := js.Publish(t.Context(), "millhand.default.ready.email.x", []byte(`{"to":"`+to+`"}`)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Minute)
		ends := make(map[string]int)
		for _, m := range stored(t, s, "millhand-events") {
			switch kind := m.Header.Get("Millhand-Event"); kind {
			case "succeeded", "dead", "cancelled":
				ends[kind]++
			}
		}
		if ends["succeeded"] < 1 || ends["succeeded"]+ends["cancelled"] != 2 {
			t.Errorf("ends %v, want 2, and the newer one's a success", ends)
		}
		if left := stored(t, s, "millhand-queue-default"); len(left) != 1 {
			t.Errorf("%d messages left", len(left))
		}
	})
}

// stored returns what a stream holds.
func stored(t *testing.T, s *natstest.Server, stream string) (msgs []*jetstream.RawStreamMsg) {
	t.Helper()
	st := openStream(t, jetStream(t, s.Connect(t)), stream)
	state := st.CachedInfo().State
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; seq++ {
		if m, err := st.GetMsg(t.Context(), seq); err == nil {
			msgs = append(msgs, m)
		}
	}
	return msgs
}
