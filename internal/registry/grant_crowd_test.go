package registry

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/slots"
)

// bury leaves grants of nodes that are gone, each of which started one job, under a rate.
func (s *scene) bury(p slots.Key, nodes int, ttl time.Duration, grant string) {
	s.t.Helper()
	if _, err := s.store.bucket.Open(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	for i := range nodes {
		m := &nats.Msg{Subject: s.subject(grantKey(p, "gone-"+strconv.Itoa(i))), Header: nats.Header{}, Data: []byte(grant)}
		m.Header["Nats-TTL"] = []string{ttl.String()}
		if err := s.store.nc.PublishMsg(m); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.store.nc.Flush(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Second) // all are stored
}

// workedLast is the last word of a node that started one job and would have started more.
const workedLast = `{"held":1,"used":1,"need":1,"want":8}`

// haunt leaves so many starts in a rate that stay, of as many nodes that are gone: more keys than
// one answer has, which nobody but those who count sees.
func (s *scene) haunt(p slots.Key, nodes int) {
	s.t.Helper()
	s.bury(p, nodes, 24*time.Hour, `{"held":1,"used":1}`)
	s.ghosts[p] = nodes
}

// Nodes that are gone leave more keys in a rate than one answer of the broker can have. Jobs
// of the rate run on, the limit holds, and can be changed, read and removed.
func TestNodesThatAreGoneDoNotFillARate(t *testing.T) {
	for _, gone := range []int{1100, 3000} {
		if testing.Short() && gone > 2000 {
			continue // it is only longer
		}
		t.Run(strconv.Itoa(gone), func(t *testing.T) {
			inScene(t, func(s *scene) {
				const per = time.Hour
				s.bury(mails, gone, per+DefaultTTL, workedLast)
				s.limit(mails, gone+500, per)
				n := s.node("a", nodeConfig{concurrency: 20, types: []string{"email"}, jobs: 200 * time.Millisecond, look: 20 * time.Millisecond})
				starts := func() int {
					n.mu.Lock()
					defer n.mu.Unlock()
					return n.serial
				}
				time.Sleep(2 * time.Minute)
				if got := starts(); got != 500 {
					s.t.Errorf("%d jobs started, 500 starts are free", got)
				}
				s.limit(mails, gone+700, per)
				usages, err := s.store.Usages(s.ctx)
				if err != nil || len(usages) != 1 || usages[0].Limit.Jobs != gone+700 || len(usages[0].Grants) != gone+1 {
					s.t.Errorf("usages %d, %v", len(usages), err)
				}
				time.Sleep(time.Minute)
				if got := starts(); got != 700 {
					s.t.Errorf("%d jobs started, 700 starts are free now", got)
				}
				s.limit(mails, 0, per)
				before := starts()
				time.Sleep(10 * time.Second)
				if got := starts() - before; got < 900 {
					s.t.Errorf("%d jobs started in 10 s after the limit was removed", got)
				}
			})
		})
	}
}

// What nodes that are gone had started ages, and is free again.
func TestStartsOfNodesThatAreGoneAge(t *testing.T) {
	inScene(t, func(s *scene) {
		const per = time.Minute
		s.limit(mails, 1100, per)
		s.bury(mails, 1100, per+DefaultTTL, workedLast)
		n := s.node("a", nodeConfig{concurrency: 20, types: []string{"email"}, jobs: 100 * time.Millisecond, look: 20 * time.Millisecond})
		starts := func() int {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.serial
		}
		time.Sleep(30 * time.Second)
		if got := starts(); got != 0 {
			s.t.Fatalf("%d jobs started while those of nodes that are gone count", got)
		}
		time.Sleep(per)
		if got := starts(); got < 1000 {
			s.t.Errorf("%d jobs started after a period, 1100 are free", got)
		}
	})
}

// A node that never had a permit leaves nothing for a period when it vanishes.
func TestNodeWithoutPermitLeavesNoStarts(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(mails, 1, time.Hour)
		s.node("a", nodeConfig{concurrency: 1, types: []string{"email"}, jobs: time.Second})
		time.Sleep(5 * time.Second)
		for i := range 5 {
			n := s.node("b"+strconv.Itoa(i), nodeConfig{concurrency: 1, types: []string{"email"}, jobs: time.Second})
			time.Sleep(4 * time.Second)
			n.crash()
		}
		time.Sleep(DefaultTTL + 2*time.Second)
		if got := s.held(mails); len(got) != 1 {
			s.t.Errorf("keys of %v, want that of a alone", got)
		}
	})
}

// More settings than one answer can have are followed all the same, and more nodes are listed.
func TestManyKeysOfEveryKind(t *testing.T) {
	inScene(t, func(s *scene) {
		const many = 1100
		if _, err := s.store.bucket.Open(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		put := func(key string, value any) {
			b, err := json.Marshal(value)
			if err != nil {
				s.t.Fatal(err)
			}
			if err := s.store.nc.Publish(s.subject(key), b); err != nil {
				s.t.Fatal(err)
			}
		}
		for i := range many {
			put(limitKey(slots.Key{Kind: slots.OfType, Name: fmt.Sprintf("t%d", i)}), limitValue{Limit: 1})
			put(pauseOf(fmt.Sprintf("q%d", i), ""), Pause{})
			put(nodeKey(fmt.Sprintf("n%d", i)), Node{})
		}
		time.Sleep(time.Second)
		s.limit(imports, 3, 0)
		n := s.node("a", busy)
		time.Sleep(time.Second)
		s.checkUsed(imports, 3, time.Second)
		s.limit(imports, 5, 0)
		if err := s.store.Pause(s.ctx, "default"); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(time.Second)
		if !n.pauses()["default"] {
			s.t.Error("a pause is not heard of beside so many")
		}
		usages, err := s.store.Usages(s.ctx)
		paused, errPaused := s.store.Paused(s.ctx)
		nodes, errNodes := s.store.Nodes(s.ctx)
		if len(usages) != many+1 || len(paused) != many+1 || len(nodes) != many+1 {
			s.t.Errorf("%d usages, %v; %d pauses, %v; %d nodes, %v", len(usages), err, len(paused), errPaused, len(nodes), errNodes)
		}
	})
}
