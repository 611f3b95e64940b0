package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
)

// parcel is a job that is handled many at once.
type parcel struct{ Town string }

func (parcel) Type() string { return "parcel" }

// depot is a worker's handler of parcels, watched from outside.
type depot struct {
	t      *testing.T
	server *natstest.Server
	client *millhand.Client

	mu    sync.Mutex
	calls [][]*millhand.Job[parcel]
	at    []time.Duration // since the depot was made
	made  time.Time
}

func newDepot(t *testing.T, s *natstest.Server) *depot {
	t.Helper()
	return &depot{t: t, server: s, client: client(t, s.Connect(t)), made: time.Now()}
}

// work starts a worker with a handler of which each call is noted.
func (d *depot) work(cfg millhand.WorkerConfig, o millhand.BatchConfig[parcel], h func(context.Context, *millhand.JobBatch[parcel]) error, types ...millhand.TypeConfig) (stop func() error) {
	d.t.Helper()
	cfg.Mux = millhand.NewMux()
	millhand.HandleBatch(cfg.Mux, o, func(ctx context.Context, b *millhand.JobBatch[parcel]) error {
		d.mu.Lock()
		d.calls = append(d.calls, slices.Clone(b.Jobs))
		d.at = append(d.at, time.Since(d.made))
		d.mu.Unlock()
		return h(ctx, b)
	}, types...)
	_, stop = start(d.t, d.server.Connect(d.t), cfg)
	return stop
}

func (d *depot) enqueue(id string, p parcel, opts ...millhand.EnqueueOption) millhand.Ref {
	d.t.Helper()
	ref, err := d.client.Enqueue(d.t.Context(), p, append(opts, millhand.WithID(id))...)
	if err != nil {
		d.t.Fatal(err)
	}
	return ref
}

func (d *depot) enqueueMany(n int) (refs []millhand.Ref) {
	d.t.Helper()
	for i := range n {
		refs = append(refs, d.enqueue(fmt.Sprintf("p%03d", i), parcel{}))
	}
	return refs
}

// all are the calls so far.
func (d *depot) all() [][]*millhand.Job[parcel] {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// sizes are those of the calls so far.
func (d *depot) sizes() (sizes []int) {
	for _, c := range d.all() {
		sizes = append(sizes, len(c))
	}
	return sizes
}

// ids are those of each call so far, sorted within it.
func (d *depot) ids() string {
	var words []string
	for _, c := range d.all() {
		var ids []string
		for _, j := range c {
			ids = append(ids, j.ID)
		}
		slices.Sort(ids)
		words = append(words, strings.Join(ids, " "))
	}
	return strings.Join(words, ", ")
}

// state is a job's state and what else is to be seen of its end.
func (d *depot) state(r millhand.Ref) string {
	d.t.Helper()
	i, err := d.client.Get(d.t.Context(), r)
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprintf("%s %d", i.State, i.Attempt)
	if i.Reason != "" {
		s += " " + string(i.Reason)
	}
	if len(i.Result) > 0 {
		s += " " + string(i.Result)
	}
	return s
}

func (d *depot) want(r millhand.Ref, want string) {
	d.t.Helper()
	if got := d.state(r); got != want {
		d.t.Errorf("%s is %s, want %s", r.ID, got, want)
	}
}

func delivered(context.Context, *millhand.JobBatch[parcel]) error { return nil }

func TestManyJobsInOneCall(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		d.enqueueMany(25)
		d.made = time.Now()
		d.work(millhand.WorkerConfig{Concurrency: 2}, millhand.BatchConfig[parcel]{Size: 10, Wait: 3 * time.Second},
			func(_ context.Context, b *millhand.JobBatch[parcel]) error {
				for i, j := range b.Jobs {
					b.Result(j, i)
				}
				return nil
			})
		time.Sleep(10 * time.Second)
		if got := d.sizes(); !slices.Equal(got, []int{10, 10, 5}) {
			t.Errorf("calls of %v jobs, want 10, 10 and 5", got)
		}
		d.mu.Lock()
		at := d.at
		d.mu.Unlock()
		if first, last := at[1], at[2]; first > time.Second || last < 3*time.Second || last > 4*time.Second {
			t.Errorf("calls at %v: want the full ones at once and the last one after its wait", at)
		}
		for _, c := range d.all() {
			for i, j := range c {
				d.want(j.Ref, fmt.Sprintf("succeeded 1 %d", i))
			}
		}
	})
}

// Each job ends as it would with a handler of one.
func TestJobsOfACallEndByThemselves(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		ends := map[string]error{
			"permanent": millhand.Permanent(errors.New("no")), "plain": errors.New("not now"),
			"later": millhand.RetryAfter(time.Minute, errors.New("busy")), "snooze": millhand.Snooze(time.Minute),
		}
		refs := make(map[string]millhand.Ref)
		for id := range ends {
			refs[id] = d.enqueue(id, parcel{})
		}
		for _, id := range []string{"good", "undone"} {
			refs[id] = d.enqueue(id, parcel{})
		}
		last := d.enqueue("last", parcel{}, millhand.WithMaxAttempts(1))
		bad, err := d.client.Enqueue(t.Context(), millhand.Raw{Name: "parcel", Payload: []byte(`{"Town":7}`)})
		if err != nil {
			t.Fatal(err)
		}
		d.work(millhand.WorkerConfig{Concurrency: 1}, millhand.BatchConfig[parcel]{Size: 8, Wait: 5 * time.Second},
			func(_ context.Context, b *millhand.JobBatch[parcel]) error {
				for _, j := range b.Jobs {
					b.Result(j, "r")
					switch {
					case j.ID == "last":
						b.Fail(j, errors.New("its last"))
					case j.ID == "undone":
						b.Fail(j, errors.New("or not"))
						b.Fail(j, nil)
					case ends[j.ID] != nil:
						b.Fail(j, ends[j.ID])
					}
				}
				return nil
			}, millhand.TypeConfig{Backoff: millhand.Backoff{Initial: 5 * time.Minute}})
		time.Sleep(4 * time.Second)
		if got := d.ids(); got != "good last later permanent plain snooze undone" {
			t.Errorf("called for %s", got)
		}
		d.want(refs["good"], `succeeded 1 "r"`)
		d.want(refs["undone"], `succeeded 1 "r"`)
		d.want(refs["permanent"], "dead 1 permanent")
		d.want(refs["plain"], "retrying 2")
		d.want(refs["later"], "retrying 2")
		d.want(refs["snooze"], "scheduled 1")
		d.want(last, "dead 1 exhausted")
		d.want(bad, "dead 1 malformed")
	})
}

// What ends a call ends all its jobs that have no end of their own.
func TestCallFailsAsAWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		h     func(context.Context) error
		error string
		stack bool
	}{
		"error":       {h: func(context.Context) error { return errors.New("down") }, error: "down"},
		"panic":       {h: func(context.Context) error { panic("oops") }, error: "panic: oops", stack: true},
		"exit":        {h: func(context.Context) error { runtime.Goexit(); return nil }, error: "the handler ended its goroutine without returning"},
		"timeout":     {h: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, error: "timed out after 2s: context deadline exceeded"},
		"stuck":       {h: func(context.Context) error { time.Sleep(time.Minute); return nil }, error: "timed out after 2s: millhand: job timed out, and the handler ignores it", stack: true},
		"nil pointer": {h: func(context.Context) error { return (*nilError)(nil) }, error: "nil pointer", stack: true},
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				d := newDepot(t, s)
				a, b, own := d.enqueue("a", parcel{}), d.enqueue("b", parcel{}, millhand.WithTimeout(2*time.Second)), d.enqueue("own", parcel{})
				d.work(millhand.WorkerConfig{Concurrency: 1}, millhand.BatchConfig[parcel]{Size: 3},
					func(ctx context.Context, b *millhand.JobBatch[parcel]) error {
						for _, j := range b.Jobs {
							if j.ID == "own" {
								b.Fail(j, millhand.Permanent(errors.New("bad")))
							}
						}
						return tt.h(ctx)
					}, millhand.TypeConfig{Timeout: time.Hour, Backoff: millhand.Backoff{Initial: time.Hour}})
				time.Sleep(20 * time.Second)
				for _, r := range []millhand.Ref{a, b} {
					d.want(r, "retrying 2")
					i, err := d.client.Get(t.Context(), r)
					if err != nil || !strings.Contains(i.LastError(), tt.error) || tt.stack != (i.Failures[0].Stack != "") {
						t.Errorf("%s: %v, %+v", r.ID, err, i.Failures)
					}
				}
				d.want(own, "dead 1 permanent")
				time.Sleep(time.Minute)
			})
		})
	}
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// One bad job fails alone, and the calls for that are few.
func TestBisect(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		refs := d.enqueueMany(8)
		bad := func(j *millhand.Job[parcel]) bool { return j.ID == "p005" }
		d.work(millhand.WorkerConfig{Concurrency: 1}, millhand.BatchConfig[parcel]{Size: 8, Bisect: true},
			func(_ context.Context, b *millhand.JobBatch[parcel]) error {
				for _, j := range b.Jobs {
					b.Result(j, len(b.Jobs))
				}
				if slices.ContainsFunc(b.Jobs, bad) {
					panic("one of them is bad")
				}
				return nil
			}, millhand.TypeConfig{MaxAttempts: 1})
		time.Sleep(3 * time.Second)
		if got := d.sizes(); !slices.Equal(got, []int{8, 4, 4, 2, 1, 1, 2}) {
			t.Errorf("calls of %v", got)
		}
		for i, want := range []string{
			"succeeded 1 4", "succeeded 1 4", "succeeded 1 4", "succeeded 1 4",
			"succeeded 1 1", "dead 1 exhausted", "succeeded 1 2", "succeeded 1 2",
		} {
			d.want(refs[i], want)
		}
	})
}

func TestBisectWithoutUse(t *testing.T) {
	for name, err := range map[string]error{
		"later": millhand.RetryAfter(time.Hour, errors.New("the database is down")), "snooze": millhand.Snooze(time.Hour),
		"all":       pipeline.All(errors.New("the database is down")),
		"hand back": millhand.HandBack(errors.New("this worker is ill")),
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				d := newDepot(t, s)
				d.enqueueMany(8)
				d.work(millhand.WorkerConfig{Concurrency: 1}, millhand.BatchConfig[parcel]{Size: 8, Bisect: true},
					func(context.Context, *millhand.JobBatch[parcel]) error {
						time.Sleep(200 * time.Millisecond) // else what is handed back comes again and again
						return err
					})
				time.Sleep(500 * time.Millisecond)
				for _, n := range d.sizes() {
					if n != 8 {
						t.Fatalf("calls of %v, want those of 8 only", d.sizes())
					}
				}
			})
		})
	}
}

func TestBatchesAreOfOneKey(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		for i := range 30 {
			d.enqueue(fmt.Sprint("p", i), parcel{Town: string(rune('a' + i%3))})
		}
		d.work(millhand.WorkerConfig{Concurrency: 4}, millhand.BatchConfig[parcel]{
			Size: 4, Key: func(j *millhand.Job[parcel]) string { return j.Args.Town },
		}, delivered)
		time.Sleep(10 * time.Second)
		n := 0
		for _, c := range d.all() {
			n += len(c)
			if len(c) > 4 || slices.ContainsFunc(c, func(j *millhand.Job[parcel]) bool { return j.Args.Town != c[0].Args.Town }) {
				t.Errorf("a call of %d jobs with mixed towns", len(c))
			}
		}
		if n != 30 || len(d.all()) > 12 {
			t.Errorf("%d jobs in %v", n, d.sizes())
		}
	})
}

func TestBatchConfigIsChecked(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		for name, tt := range map[string]struct {
			o       millhand.BatchConfig[parcel]
			ackWait time.Duration
			h       func(context.Context, *millhand.JobBatch[parcel]) error
			want    string
		}{
			"size":          {o: millhand.BatchConfig[parcel]{Size: -1}, h: delivered, want: "batch size"},
			"large":         {o: millhand.BatchConfig[parcel]{Size: millhand.MaxBatchSize + 1}, h: delivered, want: "batch size"},
			"wait":          {o: millhand.BatchConfig[parcel]{Wait: -1}, h: delivered, want: "batch wait"},
			"long wait":     {o: millhand.BatchConfig[parcel]{Wait: 16 * time.Second}, h: delivered, want: "half of the ack wait"},
			"short lease":   {o: millhand.BatchConfig[parcel]{Wait: 6 * time.Second}, ackWait: 10 * time.Second, h: delivered, want: "half of the ack wait"},
			"no handler":    {want: "is nil"},
			"what is right": {o: millhand.BatchConfig[parcel]{Wait: 5 * time.Second}, ackWait: 10 * time.Second, h: delivered},
		} {
			mux := millhand.NewMux()
			millhand.HandleBatch(mux, tt.o, tt.h)
			_, err := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux, AckWait: tt.ackWait, Config: millhand.Config{Logger: testLog(t)}})
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, millhand.ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%s: %v", name, err)
			}
		}
		defer func() {
			if recover() == nil {
				t.Error("a type has two handlers")
			}
		}()
		mux := millhand.NewMux()
		millhand.HandleBatch(mux, millhand.BatchConfig[parcel]{}, delivered)
		millhand.Handle(mux, func(context.Context, *millhand.Job[parcel]) error { return nil })
	})
}
