package slots

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ahead returns this many jobs in hand, whatever the slots are.
func (s *scene) ahead(n int) []*held {
	s.t.Helper()
	source := s.source("q", "t")
	s.open(source)
	jobs := make([]*held, n)
	for i := range jobs {
		jobs[i] = newHeld(source)
	}
	come(source, jobs, 1<<40)
	return jobs
}

// start has a job started in a goroutine of its own, which is waiting once start returns.
func (s *scene) start(ctx context.Context, h *held) (err *error, after *time.Duration) {
	began := time.Now()
	err, after = new(error), new(time.Duration)
	*err = errStarting
	go func() {
		*err = h.Ticket.Start(ctx)
		*after = time.Since(began)
	}()
	synctest.Wait()
	return err, after
}

var errStarting = errors.New("waits for a slot")

// Jobs that have no slot wait for one, in the order of their coming.
func TestStartWaitsForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newScene(t, 2)
		jobs := g.ahead(5)
		var errs [5]*error
		for i, h := range jobs {
			errs[i], _ = g.start(t.Context(), h)
		}
		for started := 2; started < len(jobs); started++ {
			for i, err := range errs {
				if waits := errors.Is(*err, errStarting); waits != (i >= started) {
					t.Fatalf("job %d waits: %t, after %d had left", i, waits, started-2)
				}
			}
			time.Sleep(100 * time.Millisecond)
			jobs[started-2].Finished()
			synctest.Wait()
		}
	})
}

// What cannot start within a second, or before its runner stops or the slots are closed, does not
// start, and those behind it are not held up.
func TestStartGivesUp(t *testing.T) {
	for name, tt := range map[string]struct {
		end   func(g *scene, stop context.CancelFunc)
		after time.Duration
	}{
		"after a second":            {func(*scene, context.CancelFunc) {}, time.Second},
		"when its runner stops":     {func(_ *scene, stop context.CancelFunc) { stop() }, 300 * time.Millisecond},
		"when the slots are closed": {func(g *scene, _ context.CancelFunc) { g.Close() }, 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newScene(t, 1)
				jobs := g.ahead(3)
				if err := jobs[0].Start(); err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				first, firstAfter := g.start(ctx, jobs[1])
				second, secondAfter := g.start(ctx, jobs[2])
				time.Sleep(300 * time.Millisecond)
				tt.end(g, stop)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				for _, err := range []*error{first, second} {
					if !errors.Is(*err, ErrNoSlot) {
						t.Errorf("%v, want %v", *err, ErrNoSlot)
					}
				}
				if *firstAfter != tt.after || *secondAfter != tt.after {
					t.Errorf("gave up after %v and %v, want %v", *firstAfter, *secondAfter, tt.after)
				}
			})
		})
	}
}

// Whatever happens to those that wait, no more run than there are slots, and none is lost.
func TestSlotsAreNeverLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const concurrency = 3
		g := newScene(t, concurrency)
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		running, most, refused := 0, 0, 0
		for range 200 {
			var all sync.WaitGroup
			for _, h := range g.ahead(8) {
				ctx, stop := context.WithTimeout(t.Context(), time.Duration(random.IntN(1500))*time.Millisecond)
				ran := time.Duration(random.IntN(900)) * time.Millisecond
				all.Go(func() {
					defer stop()
					if err := h.Ticket.Start(ctx); err != nil {
						mu.Lock()
						refused++
						mu.Unlock()
						h.Ticket.Finished(0)
						return
					}
					mu.Lock()
					running++
					most = max(most, running)
					mu.Unlock()
					time.Sleep(ran)
					mu.Lock()
					running--
					mu.Unlock()
					h.Ticket.Finished(ran)
				})
			}
			all.Wait()
		}
		if most != concurrency || refused == 0 {
			t.Errorf("%d ran at once in %d slots, %d were refused", most, concurrency, refused)
		}
		if g.demand.running != 0 || g.InHand() != 0 || len(g.starting) != 0 {
			t.Errorf("%d slots are taken, %d jobs in hand, %d wait", g.demand.running, g.InHand(), len(g.starting))
		}
	})
}
