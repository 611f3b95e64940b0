package registry

import (
	"strconv"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/slots"
)

// A broker that is 40 ms away does not make a node with many limits start late, nor lose what it
// holds, nor take long to stop, nor be deaf to a change.
func TestManyLimitsOfABrokerFarAway(t *testing.T) {
	if testing.Short() {
		t.Skip("measures how long hundreds of limits take; few show the same races")
	}
	inScene(t, func(s *scene) {
		const limits = 400
		var types []string
		for i := range limits {
			types = append(types, "t"+strconv.Itoa(i))
		}
		key := func(i int) slots.Key { return slots.Key{Kind: slots.OfType, Name: types[i]} }
		for i := range limits {
			s.limit(key(i), 5, 0)
		}
		n := s.newFarNode("a", 40*time.Millisecond, nodeConfig{concurrency: 800, types: types, jobs: 20 * time.Second, look: 100 * time.Millisecond})
		began := time.Now()
		ready := make(chan struct{})
		n.start(func() { close(ready) })
		<-ready
		if took := time.Since(began); took > 3*time.Second {
			s.t.Errorf("the node started after %v", took)
		}
		time.Sleep(30 * time.Second)
		n.mu.Lock()
		lost, ended := 0, n.serial
		for _, v := range n.limiters {
			lost += v.lost
		}
		n.mu.Unlock()
		if lost > 0 {
			s.t.Errorf("permits were lost %d times of a broker that answers", lost)
		}
		if ended < 800 {
			s.t.Errorf("%d jobs started on 800 slots", ended)
		}
		s.limit(key(7), 0, 0)
		time.Sleep(time.Second)
		if len(s.held(key(7))) != 0 {
			s.t.Error("a limit was lifted, and the grant is still there")
		}
		began = time.Now()
		n.leave()
		for i := range limits {
			if got := s.held(key(i)); len(got) != 0 {
				s.t.Fatalf("%v was not given back: %v", key(i), got)
			}
		}
		if took := time.Since(began); took > 45*time.Second {
			s.t.Errorf("the node stopped after %v", took)
		}
	})
}
