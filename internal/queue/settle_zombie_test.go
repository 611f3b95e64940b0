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
	"github.com/millhand/millhand/internal/modeltest"
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

// zombie returns one that has just been handed a job, nil if none was ready.
func (s *scene) zombie(o func(*Delivery) Outcome) *zombie {
	s.t.Helper()
	s.zombies++
	z := &zombie{scene: s, name: fmt.Sprintf("z%d", s.zombies), link: s.server.Link(), ended: make(chan struct{})}
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
		s.begin(n.store, t)
		if err := t.run(s.ctx); err != nil && !errors.Is(err, errTaken) && !errors.Is(err, nats.ErrConnectionClosed) {
			s.t.Errorf("%s, holding sequence %d: %v", z.name, z.held.Seq, err)
		}
		_ = z.nc.FlushWithContext(s.ctx) // its ack, unless it is dead
		z.nc.Close()
	}()
	s.settleDown()
	return z
}

// begin does what a worker does before it runs a job for the first time, and counts that.
func (s *scene) begin(store *Store, t *settlement) {
	if t.redelivered {
		return
	}
	ended, err := store.EndedBefore(s.ctx, t.Delivery)
	switch {
	case ended:
		t.Outcome = Outcome{Ended: true}
	case err == nil && t.From == "":
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ran == nil {
			s.ran = make(map[string]int)
		}
		s.ran[t.Life]++
	}
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
	z.link.Crash()
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

// A zombieModel has workers that never look at their lease at jobs of a few ids.
type zombieModel struct {
	*scene
	holders []*zombie
	begun   []string // lives
	checked bool     // every enqueue so far asked whether its id is alive
}

func (m *zombieModel) drawID(t *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b"}).Draw(t, "id")
}

func (m *zombieModel) enqueue(t *rapid.T) {
	r := m.record(m.drawID(t))
	err := m.store.Enqueue(m.ctx, enqueueOf(r, true, 0))
	if _, alive := errors.AsType[*DuplicateError](err); err != nil && !alive {
		t.Fatalf("enqueue: %v", err)
	}
	if err == nil {
		m.begun = append(m.begun, r.Life)
	}
}

// publishUnchecked is what any client may do, against the rules.
func (m *zombieModel) publishUnchecked(t *rapid.T) {
	r := m.record(m.drawID(t))
	m.begun, m.checked = append(m.begun, r.Life), false
	m.publish(r.ID, r.Header(), "x")
}

func (m *zombieModel) pull(t *rapid.T) {
	z := m.zombie(func(h *Delivery) Outcome { return drawOutcome(t, h) })
	if z != nil {
		m.holders = append(m.holders, z)
	}
}

func drawOutcome(t *rapid.T, h *Delivery) Outcome {
	switch rapid.SampledFrom([]string{
		"succeed", "succeed", "fail", "fail", "give up", "hand back", "hand back unstarted", "cancel",
	}).Draw(t, "outcome") {
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

// anyOf draws one of those.
func anyOf(t *rapid.T, holders []*zombie) *zombie {
	if len(holders) == 0 {
		t.Skip("nobody")
	}
	return holders[rapid.IntRange(0, len(holders)-1).Draw(t, "holder")]
}

func (m *zombieModel) alive(t *rapid.T) *zombie {
	return anyOf(t, slices.DeleteFunc(slices.Clone(m.holders), (*zombie).gone))
}

func (m *zombieModel) step(t *rapid.T) { m.alive(t).step() }

func (m *zombieModel) expire(t *rapid.T) { anyOf(t, m.holders).expire() }

func (m *zombieModel) crash(t *rapid.T) { m.alive(t).crash() }

// finish lets everybody go on to the end, and a healthy worker do what is left.
func (m *zombieModel) finish() {
	for _, z := range m.holders {
		z.link.Watch(nil)
		z.link.Release()
		<-z.ended
	}
	m.node("last").finishAll(Outcome{Kind: job.EventSucceeded})
}

// Workers that never look at their lease, crash anywhere and are woken in any order, over a
// few ids that are used again and again: each life ends exactly once all the same.
func TestBrokerAloneStopsZombies(t *testing.T) {
	natstest.Check(t, func(t *rapid.T, server *natstest.Server) {
		m := &zombieModel{scene: newScene(t, server), checked: true}
		steps := make(modeltest.Steps)
		steps.Add("enqueue", 4, m.enqueue)
		steps.Add("publish unchecked", 1, m.publishUnchecked)
		steps.Add("pull", 8, m.pull)
		steps.Add("step", 16, m.step)
		steps.Add("expire", 4, m.expire)
		steps.Add("crash", 2, m.crash)
		t.Repeat(steps)
		m.finish()
		m.checkEnded(m.begun...)
		for life, events := range m.events() {
			if m.checked && events[len(events)-1].Reason == job.ReasonSuperseded {
				t.Errorf("%s was superseded by nobody: %s", life, m.kinds(life))
			}
		}
	})
}
