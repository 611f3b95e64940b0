package queue

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// A worker that listens for jobs is never sent more than a few of them, however many are put into
// the queue and however slow its link is: the broker would cut it off.
func TestAListenerIsSentFewJobsAtATime(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.nodeOf("n", 1)
		for i := range 16 {
			n.slots.Source(1, testQueue, fmt.Sprintf("type%d", i)).Open(func(int) {})
		}
		e, err := NewListener(n.store, n.slots, testQueue)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(s.ctx)
		n.ended.Go(func() { _ = e.Run(ctx) })
		before := n.stop
		n.stop = func() { stop(); before() }
		s.sleep(time.Second)
		n.link.Hold()
		heard := n.nc.Stats().InMsgs
		for i := range 20 * listenWindow {
			s.enqueue(fmt.Sprintf("j%d", i))
		}
		n.link.Release()
		s.sleep(time.Second)
		if got := n.nc.Stats().InMsgs - heard; got != listenWindow {
			t.Errorf("%d jobs were sent to a worker that could not say whether it has room, want %d", got, listenWindow)
		}
		for i := range 3 * listenWindow {
			heard = n.nc.Stats().InMsgs
			s.enqueue(fmt.Sprintf("k%d", i))
			s.sleep(100 * time.Millisecond)
			if n.nc.Stats().InMsgs == heard {
				t.Fatalf("job %d after that was not heard of", i+1)
			}
		}
	})
}
