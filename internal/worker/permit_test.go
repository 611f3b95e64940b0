package worker_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/worker"
)

// permitted is a worker of two types, the jobs of one of which need permits.
type permitted struct {
	*worker.Worker
	t      *testing.T
	client *millhand.Client
	pool   slots.Limiter
	end    chan struct{} // of those handlers of "quota" that ignore their context

	mu     sync.Mutex
	ran    map[string]int // by type
	causes []error        // of "quota"
	lost   []string
}

func inPermitted(t *testing.T, ignore bool, f func(t *testing.T, p *permitted)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		p := &permitted{t: t, ran: make(map[string]int), end: make(chan struct{})}
		types := handled(func(context.Context, *queue.Delivery, int) ([]byte, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.ran["free"]++
			return nil, nil
		}, "free")
		types["quota"] = worker.Type{Handler: func(ctx context.Context, _ *queue.Delivery, _ int) ([]byte, error) {
			p.mu.Lock()
			p.ran["quota"]++
			p.mu.Unlock()
			if ignore {
				<-p.end
				return nil, nil
			}
			select {
			case <-ctx.Done():
				p.mu.Lock()
				defer p.mu.Unlock()
				p.causes = append(p.causes, context.Cause(ctx))
				return nil, ctx.Err()
			case <-time.After(5 * time.Second):
				return nil, nil
			}
		}}
		p.Worker = newWorker(t, s.Connect(t), worker.Config{
			Types: types, MaxAbandoned: 100,
			OnOverrun: func(jobs []job.Record) {
				p.mu.Lock()
				defer p.mu.Unlock()
				for _, j := range jobs {
					p.lost = append(p.lost, j.ID)
				}
			},
		})
		p.client = newClient(t, s.Connect(t))
		p.pool = p.Pool(slots.Key{Kind: slots.OfType, Name: "quota"})
		p.pool.Allow(0, time.Now().Add(time.Hour))
		ctx, stop := context.WithCancel(context.Background())
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := p.Run(ctx); err != nil {
				t.Errorf("worker: %v", err)
			}
		})
		defer ended.Wait()
		defer stop()
		f(t, p)
	})
}

func (p *permitted) enqueue(typ string, n int) (refs []millhand.Ref) {
	p.t.Helper()
	for range n {
		ref, err := p.client.Enqueue(p.t.Context(), millhand.Raw{Name: typ})
		if err != nil {
			p.t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	return refs
}

func (p *permitted) runs(typ string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ran[typ]
}

// reported returns what OnOverrun was called with.
func (p *permitted) reported() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lost)
}

// Jobs of a quota run on its permits and are handed back when those end, with no attempt
// counted. Others go on.
func TestLostPermitHandsJobsBack(t *testing.T) {
	inPermitted(t, false, func(t *testing.T, p *permitted) {
		refs := p.enqueue("quota", 5)
		p.enqueue("free", 5)
		time.Sleep(2 * time.Second)
		if quota, free := p.runs("quota"), p.runs("free"); quota != 0 || free != 5 {
			t.Fatalf("%d jobs ran without a permit, and %d of the others", quota, free)
		}
		until := time.Now().Add(3 * time.Second)
		p.pool.Allow(2, until)
		time.Sleep(2 * time.Second)
		if got := p.runs("quota"); got != 2 {
			t.Errorf("%d jobs run on 2 permits", got)
		}
		time.Sleep(time.Until(until) + 300*time.Millisecond)
		p.mu.Lock()
		told := slices.Clone(p.causes)
		p.mu.Unlock()
		if len(told) != 2 || !errors.Is(told[0], millhand.ErrPermitLost) || !errors.Is(told[1], millhand.ErrPermitLost) {
			t.Errorf("told %v, want millhand.ErrPermitLost twice", told)
		}
		p.enqueue("free", 5)
		time.Sleep(5 * time.Second)
		if quota, free := p.runs("quota"), p.runs("free"); quota != 2 || free != 10 {
			t.Errorf("%d jobs ran, and %d of the others; want 2 and 10", quota, free)
		}
		p.pool.Allow(3, time.Now().Add(time.Minute))
		for _, ref := range refs {
			info, err := p.client.Await(t.Context(), ref)
			if err != nil || info.Attempt != 1 || len(info.Failures) > 0 {
				t.Errorf("%+v, %v", info, err)
			}
		}
		if got := p.runs("quota"); got != 7 {
			t.Errorf("%d runs, want 5 and those of the 2 that were handed back", got)
		}
		if used, need, want := p.pool.Use(); used > 1 || need != 0 || want != used+1 {
			t.Errorf("%d used, %d needed and %d wanted with nothing to do", used, need, want)
		}
		if lost := p.reported(); lost != nil {
			t.Errorf("reported %v", lost)
		}
	})
}

// Whoever ignores that is reported while its permit is not another's yet, and once. Its
// permit is not used again before it has returned.
func TestHandlerThatIgnoresALostPermitIsReported(t *testing.T) {
	inPermitted(t, true, func(t *testing.T, p *permitted) {
		refs := p.enqueue("quota", 1)
		const grace = time.Second // half of what is left of a permit of 10 s
		until := time.Now().Add(8 * time.Second)
		p.pool.Allow(1, until)
		time.Sleep(time.Until(until) + grace - time.Millisecond)
		if p.reported() != nil {
			t.Errorf("reported after %v", time.Since(until))
		}
		time.Sleep(grace)
		if lost := p.reported(); len(lost) != 1 || lost[0] != refs[0].ID {
			t.Errorf("reported %v, want %v", lost, refs[0].ID)
		}
		p.pool.Allow(1, time.Now().Add(time.Hour))
		p.enqueue("quota", 1)
		time.Sleep(2 * worker.HandlerGrace)
		if used, _, _ := p.pool.Use(); used != 1 || p.Health().Abandoned != 1 {
			t.Errorf("%d permits used with %d handlers abandoned", used, p.Health().Abandoned)
		}
		if got := p.runs("quota"); got != 1 {
			t.Errorf("%d jobs were started on one permit", got)
		}
		close(p.end)
		time.Sleep(5 * time.Second)
		if got := p.runs("quota"); got != 3 {
			t.Errorf("%d runs once it had returned, want 3", got)
		}
		if lost := p.reported(); len(lost) != 1 {
			t.Errorf("reported %v", lost)
		}
	})
}

// A job's lease ends with its permit, for those who stop it from outside.
func TestLeaseEndsWithThePermit(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		left := make(chan time.Duration, 1)
		w := newWorker(t, s.Connect(t), worker.Config{Types: handled(func(_ context.Context, h *queue.Delivery, _ int) ([]byte, error) {
			left <- time.Until(h.LeaseUntil())
			return nil, nil
		}, "quota")})
		w.Pool(slots.Key{Kind: slots.OfQueue, Name: "default"}).Allow(1, time.Now().Add(10*time.Second))
		ctx, stop := context.WithCancel(context.Background())
		var ended sync.WaitGroup
		ended.Go(func() { _ = w.Run(ctx) })
		c := newClient(t, s.Connect(t))
		if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "quota"}); err != nil {
			t.Fatal(err)
		}
		if got := <-left; got > 10*time.Second || got < 8*time.Second {
			t.Errorf("the lease ends in %v, the permit 10 s after the start", got)
		}
		stop()
		ended.Wait()
	})
}

// Jobs of a call whose permits end are handed back, and the handler is told which they are.
func TestPermitsLostInABatch(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var mu sync.Mutex
		var lost []error
		var causes []error
		w := newWorker(t, s.Connect(t), worker.Config{Types: map[string]worker.Type{"quota": {Batch: &worker.Batch{
			Size: 3, Wait: time.Second,
			Decode: func(h *queue.Delivery, _ int) (any, error) { return h.ID, nil },
			Handle: func(ctx context.Context, jobs []*worker.BatchJob) error {
				mu.Lock()
				first := len(causes) == 0
				mu.Unlock()
				if !first {
					return nil
				}
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				causes = append(causes, context.Cause(ctx))
				for _, j := range jobs {
					lost = append(lost, j.Lost())
				}
				return nil
			},
		}}}})
		client := newClient(t, s.Connect(t))
		pool := w.Pool(slots.Key{Kind: slots.OfType, Name: "quota"})
		pool.Allow(3, time.Now().Add(time.Hour))
		ctx, stop := context.WithCancel(context.Background())
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Errorf("worker: %v", err)
			}
		})
		defer ended.Wait()
		defer stop()
		var refs []millhand.Ref
		for range 3 {
			ref, err := client.Enqueue(t.Context(), millhand.Raw{Name: "quota"})
			if err != nil {
				t.Fatal(err)
			}
			refs = append(refs, ref)
		}
		time.Sleep(5 * time.Second)
		pool.Lose()
		time.Sleep(time.Second)
		for _, r := range refs {
			if i, err := client.Get(t.Context(), r); err != nil || i.State != millhand.Ready || i.Attempt != 1 {
				t.Errorf("%s is %v at attempt %d: %v", r.ID, i.State, i.Attempt, err)
			}
		}
		pool.Allow(3, time.Now().Add(time.Hour))
		time.Sleep(10 * time.Second)
		for _, r := range refs {
			if i, err := client.Get(t.Context(), r); err != nil || i.State != millhand.Succeeded || i.Attempt != 1 {
				t.Errorf("%s is %v at attempt %d: %v", r.ID, i.State, i.Attempt, err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		isLost := func(err error) bool { return errors.Is(err, job.ErrPermitLost) }
		if len(causes) != 1 || !isLost(causes[0]) || len(lost) != 3 || slices.ContainsFunc(lost, func(err error) bool { return !isLost(err) }) {
			t.Errorf("told %v, lost %v", causes, lost)
		}
	})
}
