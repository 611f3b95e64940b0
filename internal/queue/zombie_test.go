package queue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// noLease is a lease that never ends: its holder writes whatever it was about to write,
// however long ago it lost the job. Only the broker's conditions are left to stop it.
const noLease = 10_000 * time.Hour

// zombie holds one delivery and settles it by the rules, a step at a time: its connection
// stops before each of its writes and reads until the test lets it go on.
type zombie struct {
	*scene
	name  string
	link  *natstest.Link
	nc    *nats.Conn
	held  *Delivery
	ended chan struct{}
}

// grip is a zombie that has just been handed a job, nil if none was ready.
func (s *scene) grip(o func(*Delivery) Outcome) *zombie {
	s.t.Helper()
	s.grips++
	z := &zombie{scene: s, name: fmt.Sprintf("z%d", s.grips), link: s.server.Link(), ended: make(chan struct{})}
	z.nc = z.link.Connect(s.t)
	n := &node{scene: s, name: z.name, link: z.link, nc: z.nc, store: s.open(z.nc, Config{Node: z.name})}
	if z.held = n.tryPull(time.Millisecond, noLease); z.held == nil {
		z.nc.Close()
		return nil
	}
	t := &settlement{store: n.store, Delivery: z.held, redelivered: z.held.Delivered > 1}
	if !t.redelivered {
		t.Outcome = o(z.held)
	}
	z.link.Watch(func(subject string) natstest.Fate {
		if isWrite(subject) || strings.Contains(subject, "STREAM.MSG.GET") {
			z.link.Hold()
		}
		return natstest.Pass
	})
	go func() {
		defer close(z.ended)
		if err := t.run(s.ctx); err != nil && !errors.Is(err, errTaken) && !errors.Is(err, nats.ErrConnectionClosed) {
			s.t.Errorf("%s, holding sequence %d: %v", z.name, z.held.Seq, err)
		}
		_ = z.nc.FlushWithContext(s.ctx) // its ack, unless it is dead
		z.nc.Close()
	}()
	s.settleDown()
	return z
}

// settleDown waits until all that can happen now has happened.
func (s *scene) settleDown() { time.Sleep(time.Microsecond) }

// step lets one write or read through, with its answer.
func (z *zombie) step() {
	z.link.Release()
	z.settleDown()
}

// expire is the end of the broker's lease: the message is handed out again, and whoever
// holds it goes on.
func (z *zombie) expire() {
	if err := z.scene.store.nc.Publish(z.held.reply, []byte("-NAK")); err != nil {
		z.t.Fatalf("nak: %v", err)
	}
	z.settleDown()
}

func (z *zombie) crash() {
	z.link.Down()
	z.link.Cut()
	z.nc.Close()
	z.link.Release()
	<-z.ended
}

func (z *zombie) gone() bool {
	select {
	case <-z.ended:
		return true
	default:
		return false
	}
}

// Workers that never look at their lease, crash anywhere and are woken in any order, over a
// few ids that are used again and again: each life ends exactly once all the same.
func TestBrokerAloneStopsZombies(t *testing.T) {
	natstest.Check(t, func(t *rapid.T, server *natstest.Server) {
		s := newScene(t, server)
		var lives []string
		checked := true // every enqueue so far asked whether its id is alive
		var holders []*zombie
		ids := rapid.SampledFrom([]string{"a", "b"})
		outcomes := rapid.SampledFrom([]string{"succeed", "succeed", "fail", "fail", "give up", "hand back", "hand back unstarted", "cancel"})
		outcome := func(h *Delivery) Outcome {
			switch outcomes.Draw(t, "outcome") {
			case "fail":
				if h.Attempt >= 2 {
					return Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: "boom"}
				}
				return Outcome{Kind: job.EventRetrying, Error: "boom"}
			case "give up":
				return Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent, Error: "no"}
			case "hand back":
				return Outcome{Kind: job.EventHandedBack}
			case "hand back unstarted":
				return Outcome{}
			case "cancel":
				return Outcome{Kind: job.EventCancelled}
			}
			return Outcome{Kind: job.EventSucceeded}
		}
		one := func(t *rapid.T, of []*zombie) *zombie {
			if len(of) == 0 {
				t.Skip("nobody")
			}
			return of[rapid.IntRange(0, len(of)-1).Draw(t, "holder")]
		}
		alive := func(t *rapid.T) *zombie {
			return one(t, slices.DeleteFunc(slices.Clone(holders), (*zombie).gone))
		}
		step := func(t *rapid.T) { alive(t).step() }
		grip := func(*rapid.T) {
			if z := s.grip(outcome); z != nil {
				holders = append(holders, z)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"enqueue": func(t *rapid.T) {
				r := s.record(ids.Draw(t, "id"))
				err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0))
				if _, alive := errors.AsType[*DuplicateError](err); err != nil && !alive {
					t.Fatalf("enqueue: %v", err)
				}
				if err == nil {
					lives = append(lives, r.Life)
				}
			},
			"publish unchecked": func(t *rapid.T) { // as any client may, against the rules
				if rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
					t.Skip("not now")
				}
				r := s.record(ids.Draw(t, "id"))
				lives, checked = append(lives, r.Life), false
				s.publish(r.ID, r.Header(), "x")
			},
			"grip": grip, "grip 2": grip, "step": step, "step 2": step, "step 3": step, "step 4": step,
			"expire": func(t *rapid.T) { one(t, holders).expire() },
			"crash": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "really") {
					alive(t).crash()
				}
			},
		})
		for _, z := range holders {
			z.link.Watch(nil)
			z.link.Release()
			<-z.ended
		}
		n := s.node("last")
		n.finishAll(Outcome{Kind: job.EventSucceeded})
		s.checkEnded(lives...)
		for life, events := range s.events() {
			if checked && events[len(events)-1].Reason == job.ReasonSuperseded {
				t.Errorf("%s was superseded by nobody: %s", life, s.kinds(life))
			}
		}
	})
}
