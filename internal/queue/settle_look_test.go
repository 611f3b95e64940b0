package queue

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// watchLooks counts the events that a node sends and the looks at last events, which are lost if told so.
func (n *node) watchLooks(lose bool) (events, looks *int) {
	events, looks = new(int), new(int)
	n.link.Watch(func(subject string) natstest.Fate {
		switch {
		case short(subject) == "event":
			*events++
		case strings.Contains(subject, "DIRECT.GET.millhand-events"):
			*looks++
			if lose {
				return natstest.Lost
			}
		}
		return natstest.Pass
	})
	return events, looks
}

// lifeOfEach enqueues jobs of the same ids each time and has a node settle them, all at once. It
// returns their lives.
func (n *node) lifeOfEach(jobs int, o Outcome) (lives []string) {
	n.t.Helper()
	var held []*Delivery
	for i := range jobs {
		lives = append(lives, n.scene.enqueue(strconv.Itoa(i)).Life)
		held = append(held, n.pull())
	}
	for _, h := range held {
		n.settler.Settle(h, o)
	}
	n.sleep(5 * time.Second)
	synctest.Wait()
	return lives
}

// The last events of ids that had lives before are read together, so that no event is refused. A life
// of its own is still one: what was written of it counts.
func TestIDsThatWereUsedBefore(t *testing.T) {
	for name, lose := range map[string]bool{"read": false, "reads are lost": true} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				const jobs = 10 // fewer than are confirmed in batches
				n := s.nodeOf("n", jobs)
				lives := n.lifeOfEach(jobs, succeed(nil))
				events, looks := n.watchLooks(lose)
				lives = append(lives, n.lifeOfEach(jobs, succeed(nil))...)
				lives = append(lives, n.lifeOfEach(jobs, succeed(nil))...)
				switch {
				case !lose && *events != 2*jobs:
					t.Errorf("%d events were sent for %d jobs", *events, 2*jobs)
				case *looks == 0 || *looks > jobs:
					t.Errorf("%d looks for %d jobs", *looks, 2*jobs)
				}
				s.checkEnded(lives...)
			})
		})
	}
}

// A look takes nothing for known but the end of an older life: an event of its own life says that
// the job was lost to somebody, who goes on with it.
func TestALookIsNotTrustedAboutItsOwnLife(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		n := s.node("n")
		lives := n.lifeOfEach(1, succeed(nil))
		r := s.enqueue("0")
		h := n.pull()
		other := s.node("other")
		s.sleep(2 * testWait)
		if err := other.redelivered(other.pull()); err != nil { // it counts a crash
			t.Fatal(err)
		}
		h.lease = newLease(noLease, time.Now()) // it knows nothing of that
		n.settler.Settle(h, succeed(nil))
		s.sleep(5 * time.Second)
		if kinds := s.kinds(r.Life); kinds != string(job.EventLost) {
			t.Errorf("it wrote %q", kinds)
		}
		other.finishAll(succeed(nil))
		s.checkEnded(append(lives, r.Life)...)
	})
}
