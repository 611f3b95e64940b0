package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
)

type (
	parcelJob    = *millhand.Job[parcel]
	parcelConfig = pipeline.Config[parcelJob]
)

// pipe runs a pipeline of parcels.
func (d *depot) pipe(c parcelConfig, o millhand.JobSourceConfig) (p *pipeline.Pipeline[parcelJob], stop func() error) {
	d.t.Helper()
	o.Logger, c.Logger = testLog(d.t), testLog(d.t)
	source, err := millhand.NewJobSource[parcel](d.server.Connect(d.t), o)
	if err != nil {
		d.t.Fatal(err)
	}
	c.Source = source
	if p, err = pipeline.New(c); err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.t.Context()))
	ended := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { ended <- p.Run(ctx) })
	stopped := false
	stop = func() error {
		stopped = true
		cancel()
		defer running.Wait()
		return <-ended
	}
	d.t.Cleanup(func() {
		if !stopped {
			if err := stop(); err != nil {
				d.t.Errorf("the pipeline ended with %v", err)
			}
		}
	})
	return p, stop
}

// bundles is a batcher that notes its calls.
func (d *depot) bundles(c pipeline.BatcherConfig[parcelJob], h func(context.Context, *pipeline.Batch[parcelJob]) error) *pipeline.Batcher[parcelJob] {
	c.Handle = func(ctx context.Context, b *pipeline.Batch[parcelJob]) error {
		d.mu.Lock()
		d.calls = append(d.calls, slices.Clone(b.Items))
		d.at = append(d.at, time.Since(d.made))
		d.mu.Unlock()
		return h(ctx, b)
	}
	return pipeline.NewBatcher(c)
}

// Each job of a pipeline ends as it would with a handler.
func TestPipelineOfJobs(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		ends := map[string]error{
			"permanent": millhand.Permanent(errors.New("no")), "plain": errors.New("not now"),
			"later": millhand.RetryAfter(time.Minute, errors.New("busy")), "snooze": millhand.Snooze(time.Minute),
			"back": nil, "panic": nil, "good": nil, "alone": nil, "unkept": nil,
		}
		refs := make(map[string]millhand.Ref)
		for id := range ends {
			refs[id] = d.enqueue(id, parcel{})
		}
		last := d.enqueue("last", parcel{}, millhand.WithMaxAttempts(1))
		bad, err := d.client.Enqueue(t.Context(), millhand.Raw{Name: "parcel", Payload: []byte(`{"Town":7}`)})
		if err != nil {
			t.Fatal(err)
		}
		bundle := d.bundles(pipeline.BatcherConfig[parcelJob]{Size: 100, Wait: time.Second}, func(_ context.Context, b *pipeline.Batch[parcelJob]) error {
			for i, j := range b.Items {
				switch {
				case j.ID == "last":
					b.Fail(i, errors.New("its last"))
				case ends[j.ID] != nil:
					b.Fail(i, ends[j.ID])
				}
			}
			return nil
		})
		d.pipe(parcelConfig{
			Name: "parcels", Batchers: []pipeline.AnyBatcher{bundle},
			Process: func(_ context.Context, m *pipeline.Message[parcelJob]) error {
				switch j := m.Value; j.ID {
				case "panic":
					panic("broken")
				case "alone":
					j.SetResult("one")
					return nil
				case "unkept":
					j.SetResult(func() {})
					return nil
				case "back":
					if j.LeaseUntil().IsZero() {
						t.Error("a job without a lease")
					}
					return millhand.RetryAfter(3*time.Minute, errors.New("later"))
				default:
					j.SetResult("r")
					bundle.Add(m, j)
				}
				return nil
			},
		}, millhand.JobSourceConfig{Job: millhand.TypeConfig{Backoff: millhand.Backoff{Initial: 5 * time.Minute}}})
		time.Sleep(20 * time.Second)
		for id, want := range map[string]string{
			"good": `succeeded 1 "r"`, "alone": `succeeded 1 "one"`, "unkept": "dead 1 permanent",
			"permanent": "dead 1 permanent", "plain": "retrying 2", "later": "retrying 2", "back": "retrying 2",
			"snooze": "scheduled 1", "panic": "retrying 2",
		} {
			d.want(refs[id], want)
		}
		d.want(last, "dead 1 exhausted")
		d.want(bad, "dead 1 malformed")
		workers, err := d.client.Workers(t.Context())
		if err != nil || len(workers) != 1 {
			t.Fatalf("%d workers, %v", len(workers), err)
		}
		if p := workers[0].Pipelines; len(p) != 1 || p[0].Name != "parcels" || p[0].Processed != 3 || p[0].InHand != 0 || p[0].Failed != 7 {
			t.Errorf("it says of its pipeline: %+v", p)
		}
		if i, err := d.client.Get(t.Context(), refs["panic"]); err != nil || len(i.Failures) == 0 || i.Failures[0].Stack == "" {
			t.Errorf("the one that panicked: %+v, %v", i.Failures, err)
		}
	})
}

// No more jobs are taken than the pipeline has room for, and a pause or a rate of its own takes none.
func TestPipelineTakesWhatItHasRoomFor(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		refs := d.enqueueMany(40)
		release := make(chan struct{})
		p, _ := d.pipe(parcelConfig{
			Concurrency: 2, InFlight: 6,
			Process: func(context.Context, *pipeline.Message[parcelJob]) error { <-release; return nil },
		}, millhand.JobSourceConfig{})
		other := make(chan string, 100)
		time.Sleep(5 * time.Second)
		if got := p.Stats().InHand; got != 6 {
			t.Errorf("%d in hand, want 6", got)
		}
		workers, err := d.client.Workers(t.Context())
		if err != nil || len(workers) != 1 || workers[0].Concurrency != 6 || *workers[0].SlotsFree != 0 {
			t.Errorf("the registry has %+v, %v", workers, err)
		}
		p.Pause()
		close(release)
		time.Sleep(time.Second)
		mux := millhand.NewMux()
		millhand.Handle(mux, func(_ context.Context, j *millhand.Job[parcel]) error {
			other <- j.ID
			return nil
		})
		_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 5})
		time.Sleep(20 * time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if len(other) != 34 {
			t.Errorf("%d were left for another worker, want 34", len(other))
		}
		for _, r := range refs {
			d.want(r, "succeeded 1")
		}
		p.Resume()
		r := d.enqueue("after", parcel{})
		time.Sleep(10 * time.Second)
		d.want(r, "succeeded 1")
	})
}

// A batch does not wait for jobs that a quota keeps away.
func TestPipelineBatchesDoNotWaitForQuotas(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		bundle := d.bundles(pipeline.BatcherConfig[parcelJob]{Size: 100, Wait: 10 * time.Second}, func(context.Context, *pipeline.Batch[parcelJob]) error { return nil })
		d.pipe(parcelConfig{
			Batchers: []pipeline.AnyBatcher{bundle},
			Process: func(_ context.Context, m *pipeline.Message[parcelJob]) error {
				bundle.Add(m, m.Value)
				return nil
			},
		}, millhand.JobSourceConfig{Job: millhand.TypeConfig{Quotas: []millhand.Quota{{Limit: 5}}}})
		time.Sleep(15 * time.Second)
		took := d.drained(d.enqueueMany(60), 5*time.Minute)
		if took > 30*time.Second {
			t.Errorf("60 jobs took %v: batches of %v", took, d.sizes())
		}
		if most := slices.Max(d.sizes()); most > 5 {
			t.Errorf("a batch of %d", most)
		}
	})
}

// The time of a job begins with Process. What is over, cancelled or lost ends the contexts of its functions.
func TestPipelineEndsWhatMustNotGoOn(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		slow := d.enqueue("a-slow", parcel{})
		waits := d.enqueue("b-waits", parcel{})
		cancelled := d.enqueue("c-cancelled", parcel{})
		var mu sync.Mutex
		causes := make(map[string]error)
		d.pipe(parcelConfig{
			Concurrency: 1, InFlight: 10,
			Process: func(ctx context.Context, m *pipeline.Message[parcelJob]) error {
				switch m.Value.ID {
				case "b-waits":
					return nil
				case "a-slow":
				default:
					t.Errorf("%s went into Process", m.Value.ID)
				}
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				causes[m.Value.ID] = context.Cause(ctx)
				return ctx.Err()
			},
		}, millhand.JobSourceConfig{Job: millhand.TypeConfig{Timeout: 10 * time.Second, Backoff: millhand.Backoff{Initial: time.Hour}}})
		time.Sleep(5 * time.Second)
		if _, err := d.client.Cancel(t.Context(), cancelled); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		d.want(slow, "retrying 2")
		d.want(waits, "succeeded 1")
		d.want(cancelled, "cancelled 1 requested")
		mu.Lock()
		defer mu.Unlock()
		if err := causes["a-slow"]; !errors.Is(err, millhand.ErrTimeout) {
			t.Errorf("the slow one ended with %v", err)
		}
	})
}

// A drain settles what is in hand; what takes too long is handed back with no attempt counted.
func TestPipelineOfJobsDrains(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		refs := d.enqueueMany(5)
		bundle := d.bundles(pipeline.BatcherConfig[parcelJob]{Size: 100, Wait: 20 * time.Second}, func(context.Context, *pipeline.Batch[parcelJob]) error { return nil })
		c := parcelConfig{
			Concurrency: 4, InFlight: 50, DrainTimeout: 3 * time.Second, Batchers: []pipeline.AnyBatcher{bundle},
			Process: func(ctx context.Context, m *pipeline.Message[parcelJob]) error {
				if m.Value.ID == "stuck" {
					<-ctx.Done()
					return ctx.Err()
				}
				bundle.Add(m, m.Value)
				return nil
			},
		}
		_, stop := d.pipe(c, millhand.JobSourceConfig{})
		time.Sleep(5 * time.Second)
		if err := stop(); err != nil || len(d.sizes()) != 1 {
			t.Errorf("it ended with %v, batches of %v", err, d.sizes())
		}
		for _, r := range refs {
			d.want(r, "succeeded 1")
		}
		stuck := d.enqueue("stuck", parcel{})
		_, stop = d.pipe(c, millhand.JobSourceConfig{})
		time.Sleep(5 * time.Second)
		if err := stop(); !errors.Is(err, pipeline.ErrDrainTimeout) {
			t.Errorf("it ended with %v", err)
		}
		d.want(stuck, "ready 1")
		if workers, err := d.client.Workers(t.Context()); err != nil || len(workers) > 0 {
			t.Errorf("after the end: %d workers, %v", len(workers), err)
		}
	})
}

// A source may be of several types, and its pipeline may run again.
func TestPipelineOfRawJobs(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		source, err := millhand.NewJobSource[millhand.Raw](s.Connect(t), millhand.JobSourceConfig{
			Config: millhand.Config{Logger: testLog(t)}, Types: []string{"one", "two"}, Queues: []millhand.Queue{{Name: "default"}, {Name: "other"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var seen []string
		p, err := pipeline.New(pipeline.Config[*millhand.Job[millhand.Raw]]{
			Source: source, Logger: testLog(t),
			Process: func(_ context.Context, m *pipeline.Message[*millhand.Job[millhand.Raw]]) error {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, fmt.Sprintf("%s %s", m.Value.Args.Name, m.Value.Args.Payload))
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for run := range 2 {
			for _, typ := range []string{"one", "two"} {
				if _, err := d.client.Enqueue(t.Context(), millhand.Raw{Name: typ, Payload: fmt.Append(nil, run)}, millhand.WithQueue("other")); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := p.Run(ctx); err != nil {
				t.Error(err)
			}
			cancel()
		}
		slices.Sort(seen)
		if want := []string{"one 0", "one 1", "two 0", "two 1"}; !slices.Equal(seen, want) {
			t.Errorf("handled %q", seen)
		}
	})
}

func TestJobSourceConfigurations(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		for name, newSource := range map[string]func() error{
			"in flight": func() error {
				_, err := millhand.NewJobSource[parcel](nc, millhand.JobSourceConfig{InFlight: -1})
				return err
			},
			"no types": func() error {
				_, err := millhand.NewJobSource[millhand.Raw](nc, millhand.JobSourceConfig{})
				return err
			},
			"types": func() error {
				_, err := millhand.NewJobSource[parcel](nc, millhand.JobSourceConfig{Types: []string{"parcel"}})
				return err
			},
			"a type": func() error {
				_, err := millhand.NewJobSource[millhand.Raw](nc, millhand.JobSourceConfig{Types: []string{"a.b"}})
				return err
			},
			"twice": func() error {
				_, err := millhand.NewJobSource[millhand.Raw](nc, millhand.JobSourceConfig{Types: []string{"a", "a"}})
				return err
			},
			"queue": func() error {
				_, err := millhand.NewJobSource[parcel](nc, millhand.JobSourceConfig{Queues: []millhand.Queue{{Name: "a b"}}})
				return err
			},
			"job": func() error {
				_, err := millhand.NewJobSource[parcel](nc, millhand.JobSourceConfig{Job: millhand.TypeConfig{Timeout: -1}})
				return err
			},
		} {
			if err := newSource(); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Jobs of a key go into Process in the order in which they wait in the queue.
func TestPipelineOfJobsInOrder(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		d.enqueueMany(60)
		var mu sync.Mutex
		var seen []string
		d.pipe(parcelConfig{
			Concurrency: 4, InFlight: 20, OrderBy: func(*pipeline.Message[parcelJob]) string { return "one" },
			Process: func(_ context.Context, m *pipeline.Message[parcelJob]) error {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, m.Value.ID)
				return nil
			},
		}, millhand.JobSourceConfig{})
		time.Sleep(20 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(seen) != 60 || !slices.IsSorted(seen) {
			t.Errorf("%d in Process, as %q", len(seen), seen)
		}
	})
}
