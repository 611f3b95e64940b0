package registry

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// A node that stood still was not waited for: what was ordered meanwhile is on its way to it, behind
// the jobs that it has in hand. So it reads the orders before it starts any.
func TestANodeThatStoodStillReadsOrdersFirst(t *testing.T) {
	inScene(t, func(s *scene) {
		const presence = 2 * time.Second // shorter than what a watch waits for a sign of the broker
		s.limit(imports, 1, 0)           // makes the bucket
		link := s.server.Link()
		frozen := make(chan struct{})
		orders := s.open(link.Connect(s.t)).NewOrders(OrdersConfig{
			Node: "n", TTL: presence, Logger: s.logger(), Carry: func(context.Context, *job.Order) error { return nil },
			Tell: func(o *job.Order) []job.Held {
				if o.ID == "freeze" { // as if the process were stopped
					<-frozen
				}
				return nil
			},
		})
		ctx, stop := context.WithCancel(s.ctx)
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- orders.RunReady(ctx, func() { close(ready) }) }()
		thaw := sync.OnceFunc(func() {
			link.Release()
			close(frozen)
		})
		defer func() {
			thaw()
			stop()
			<-ended
		}()
		<-ready
		if _, err := s.store.ShowOrder(s.ctx, &job.Order{Queue: "q", Type: "t", ID: "freeze", Lives: []string{"l"}}); err != nil {
			s.t.Fatal(err)
		}
		synctest.Wait() // until it is told
		link.Hold()
		give := &job.Order{Queue: "q", Type: "t", ID: "a", Lives: []string{"l"}, At: time.Now()}
		if err := s.store.GiveOrder(s.ctx, give); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(presence - 100*time.Millisecond)
		time.AfterFunc(10*time.Millisecond, thaw)
		orders.Wait(ctx) // as a job does that was in hand all the while
		if orders.Find(&job.Record{Queue: "q", Type: "t", ID: "a", Life: "l"}, nil) == nil {
			s.t.Error("the job starts, although it was cancelled while the node stood still")
		}
		synctest.Wait()
		began := time.Now()
		orders.Wait(ctx)
		if took := time.Since(began); took > 0 {
			s.t.Errorf("the next job waits for %v", took)
		}
	})
}
