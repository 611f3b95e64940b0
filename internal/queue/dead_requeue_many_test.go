package queue

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// Many at a time, up to a limit, and spread over a while. What cannot be requeued is told, and the rest
// goes on; what dies again meanwhile is left.
func TestRequeueDead(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const jobs, limit = 300, 280
		n := s.nodeOf("n", 50)
		for i := range jobs {
			n.kill(fmt.Sprint("j", i), Outcome{Reason: job.ReasonPermanent, Error: "boom"})
		}
		other := s.enqueue("j3")
		begun := time.Now()
		done, refused := 0, 0
		for r, err := range s.store.RequeueDead(s.ctx, DeadFilter{Error: "boom"}, Revivals{Limit: limit, Spread: time.Hour}) {
			_, duplicate := errors.AsType[*DuplicateError](r.Err)
			switch {
			case err != nil:
				t.Fatal(err)
			case r.Err == nil:
				done++
			case duplicate && r.ID == "j3":
				refused++
			default:
				t.Fatalf("%s: %v", r.ID, r.Err)
			}
		}
		if done != limit || refused != 1 {
			t.Fatalf("%d requeued, %d refused", done, refused)
		}
		if left := len(s.deadIDs(DeadFilter{})); left != jobs-limit {
			t.Errorf("%d are dead still", left)
		}
		quarters := make([]int, 4)
		for _, m := range s.waiting() {
			if m.Header.Get(job.HeaderLife) == other.Life {
				continue
			}
			at := begun
			if due := m.Header.Get(job.HeaderDue); due != "" {
				at, _ = time.Parse(time.RFC3339Nano, due)
			}
			quarters[min(max(int(at.Sub(begun)/(15*time.Minute)), 0), 3)]++
		}
		for _, q := range quarters {
			if q < limit/4-3 || q > limit/4+3 {
				t.Errorf("due in each quarter of the hour: %v", quarters)
				break
			}
		}
		again := 0
		for r, err := range s.store.RequeueDead(s.ctx, DeadFilter{}, Revivals{}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Err != nil {
				continue
			}
			again++
			if err := n.settle(n.pull(), Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent}); err != nil {
				t.Fatal(err)
			}
		}
		if again != jobs-limit-1 {
			t.Errorf("%d requeued of %d, which died again meanwhile", again, jobs-limit-1)
		}
	})
}

// Two workers that were held up bury one job, further apart than the broker knows a message by its id:
// there are two records of one death, and the job runs again once.
func TestRequeueOfTwoRecords(t *testing.T) {
	for _, together := range []bool{false, true} {
		t.Run(strconv.FormatBool(together), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				r := s.enqueue("a")
				die := func(*Delivery) Outcome { return Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent} }
				first, dead := s.zombie(die), s.store.names.dead(testPlace("a"))
				first.link.Watch(func(subject string) natstest.Fate {
					if subject == dead {
						first.link.Hold()
					}
					return natstest.Pass
				})
				first.step()
				first.expire()
				finish := func(z *zombie) {
					z.link.Watch(nil)
					z.link.Release()
					<-z.ended
				}
				s.node("second").finishAll(Outcome{})
				time.Sleep(DedupWindow + time.Second)
				if together {
					finish(first)
				}
				n := s.node("n")
				requeue := func() {
					for r, err := range s.store.RequeueDead(s.ctx, DeadFilter{}, Revivals{}) {
						if err != nil || r.Err != nil || r.Life != job.RequeuedLife("life-1") {
							t.Errorf("requeued %+v, %v", r, err)
						}
					}
					n.finishAll(Outcome{Kind: job.EventSucceeded})
				}
				requeue()
				if !together {
					finish(first)
					if got := s.deadIDs(DeadFilter{}); len(got) != 1 {
						t.Fatalf("dead: %q", got)
					}
					requeue()
				}
				if got := len(s.events()); got != 2 || s.kinds(job.RequeuedLife(r.Life)) != "succeeded" {
					t.Errorf("%d lives", got)
				}
				if got := s.deadIDs(DeadFilter{}); got != nil {
					t.Errorf("still dead: %q", got)
				}
			})
		})
	}
}
