package worker_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/worker"
)

// Handlers return at the very moment at which they are given up. Whichever comes first, a job ends once, and its slot
// and its permit are free again.
func TestHandlerReturnsAsItIsGivenUp(t *testing.T) {
	const jobs, timeout = 40, time.Second
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		late := worker.Type{
			Settings: worker.Settings{Timeout: timeout, MaxAttempts: 1},
			Handler: func(context.Context, *queue.Delivery, int) ([]byte, error) {
				time.Sleep(timeout + worker.HandlerGrace)
				return nil, nil
			},
		}
		w := newWorker(t, s.Connect(t), worker.Config{Types: map[string]worker.Type{"late": late}, Concurrency: jobs})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		c := newClient(t, s.Connect(t))
		if err := c.SetQuota(t.Context(), millhand.Quota{Type: "late", Limit: jobs}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for range 2 { // the second half needs what the first has given back
			ids := make(map[string]int)
			for i := range jobs {
				ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "late"}, millhand.WithID(strconv.Itoa(i)))
				if err != nil {
					t.Fatal(err)
				}
				ids[ref.Life] = 0
			}
			time.Sleep(time.Minute)
			for e, err := range c.Events(t.Context(), begin) {
				if err != nil {
					t.Fatal(err)
				}
				if _, ours := ids[e.Life]; ours {
					ids[e.Life]++
				}
				if allEnded(ids) {
					break
				}
			}
			for life, n := range ids {
				if n != 1 {
					t.Errorf("job of life %s has %d events, want one", life, n)
				}
			}
			if h := w.Health(); h.Abandoned != 0 || h.InHand != 0 {
				t.Errorf("%d abandoned, %d in hand, want none", h.Abandoned, h.InHand)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func allEnded(ids map[string]int) bool {
	for _, n := range ids {
		if n == 0 {
			return false
		}
	}
	return true
}
