package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// drained waits until all jobs have ended, and returns how long that took.
func (d *depot) drained(refs []millhand.Ref, within time.Duration) time.Duration {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), within)
	defer cancel()
	began := time.Now()
	for _, r := range refs {
		if i, err := d.client.Await(ctx, r); !i.State.Final() {
			d.t.Fatalf("%s is %s: %v", r.ID, i.State, err)
		}
	}
	return time.Since(began)
}

// A batch that no further job can join does not wait for one.
func TestBatchesDoNotWaitInVain(t *testing.T) {
	for name, tt := range map[string]struct {
		quota  millhand.Quota
		queue  millhand.Queue
		within time.Duration
		most   int
	}{
		"quota":            {quota: millhand.Quota{Limit: 5}, within: 15 * time.Second, most: 5},
		"quota of one":     {quota: millhand.Quota{Limit: 1}, within: 30 * time.Second, most: 1},
		"rate":             {quota: millhand.Quota{Limit: 20, Per: time.Minute}, within: 130 * time.Second, most: 20},
		"quota above size": {quota: millhand.Quota{Limit: 300}, within: 15 * time.Second, most: 60},
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				d := newDepot(t, s)
				d.work(millhand.WorkerConfig{Concurrency: 4}, millhand.BatchConfig[parcel]{Size: 100, Wait: 10 * time.Second},
					func(context.Context, *millhand.JobBatch[parcel]) error {
						time.Sleep(100 * time.Millisecond)
						return nil
					}, millhand.TypeConfig{Quotas: []millhand.Quota{tt.quota}})
				time.Sleep(15 * time.Second)
				took := d.drained(d.enqueueMany(60), 5*time.Minute)
				if took > tt.within {
					t.Errorf("60 jobs took %v, want less than %v: calls of %v", took, tt.within, d.sizes())
				}
				if most := slices.Max(d.sizes()); most > tt.most {
					t.Errorf("a call of %d jobs", most)
				}
			})
		})
	}
}

// A queue's own concurrency counts calls, as the worker's does. How the broker cuts what it delivers may make one
// or two more of them; counted by jobs it would be thirty.
func TestQueueConcurrencyCountsCalls(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		refs := d.enqueueMany(60)
		var running, most atomic.Int32
		d.work(millhand.WorkerConfig{Concurrency: 10, Queues: []millhand.Queue{{Name: "default", Concurrency: 2}}}, millhand.BatchConfig[parcel]{Size: 10},
			func(context.Context, *millhand.JobBatch[parcel]) error {
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
				return nil
			})
		if took := d.drained(refs, time.Minute); took < 3*time.Second || took > 5*time.Second+100*time.Millisecond {
			t.Errorf("it took %v: calls of %v", took, d.sizes())
		}
		if most.Load() != 2 {
			t.Errorf("%d calls at once, want 2", most.Load())
		}
	})
}

// Whatever befalls calls and jobs, each job ends once, after as many attempts as it would have alone.
func TestBatchesAtRandom(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				d := newDepot(t, s)
				tell := kinds(t, d.client)
				random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // it is to be repeatable
				size := 1 + random.IntN(20)
				cfg := millhand.TypeConfig{MaxAttempts: 20, Backoff: millhand.Backoff{Initial: 100 * time.Millisecond, Max: time.Second}}
				if seed > 0 {
					cfg.Quotas = []millhand.Quota{{Limit: 5}}
				}
				left := make(map[string]int) // failures
				var refs []millhand.Ref
				for i := range 120 {
					id := fmt.Sprint("j", i)
					left[id] = max(random.IntN(6)-3, 0)
					refs = append(refs, d.enqueue(id, parcel{Town: strconv.Itoa(i % 3)}))
				}
				failures := make(map[string]int)
				handle := func(_ context.Context, b *millhand.JobBatch[parcel]) error {
					d.mu.Lock()
					pause := time.Duration(random.IntN(50)) * time.Millisecond
					d.mu.Unlock()
					time.Sleep(pause)
					d.mu.Lock()
					defer d.mu.Unlock()
					whole := random.IntN(10)
					for _, j := range b.Jobs {
						switch {
						case whole < 2:
							failures[j.ID]++
						case left[j.ID] > 0:
							left[j.ID]--
							failures[j.ID]++
							b.Fail(j, errors.New("again"))
						}
					}
					switch whole {
					case 0:
						panic("all")
					case 1:
						return errors.New("all")
					}
					return nil
				}
				o := millhand.BatchConfig[parcel]{Size: size, Wait: 200 * time.Millisecond, Key: func(j *millhand.Job[parcel]) string { return j.Args.Town }}
				stop := d.work(millhand.WorkerConfig{Concurrency: 3}, o, handle, cfg)
				time.Sleep(300 * time.Millisecond)
				if err := stop(); err != nil { // amid its work
					t.Fatal(err)
				}
				d.work(millhand.WorkerConfig{Concurrency: 3}, o, handle, cfg)
				d.drained(refs, 10*time.Minute)
				for _, r := range refs {
					want := strings.Repeat("retrying ", failures[r.ID]) + "succeeded"
					if got := strings.ReplaceAll(tell(r), "handed_back ", ""); got != want {
						t.Errorf("%s: %s, want %s", r.ID, got, want)
					}
				}
				for _, c := range d.all() {
					if len(c) > size || slices.ContainsFunc(c, func(j *millhand.Job[parcel]) bool { return j.Args.Town != c[0].Args.Town }) {
						t.Errorf("a call of %d jobs of %d, or with mixed keys", len(c), size)
					}
				}
			})
		})
	}
}
