package queue

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/modeltest"
	"github.com/millhand/millhand/internal/natstest"
)

// An operator requeues one dead job, and stops before each thing that he asks of the broker until the
// test lets him go on.
type operator struct {
	link  *natstest.Link
	nc    *nats.Conn
	ended chan struct{}
}

// operator returns one who has been told of a dead job, however long ago that was.
func (s *scene) operator(d *DeadJob, patience time.Duration) *operator {
	s.t.Helper()
	o := &operator{link: s.server.Link(), ended: make(chan struct{})}
	o.nc = o.link.Connect(s.t)
	store := s.open(o.nc, Config{Patience: patience})
	o.link.Watch(func(subject string) natstest.Fate {
		if strings.HasPrefix(subject, "millhand.") || strings.Contains(subject, "STREAM.MSG.") {
			o.link.Hold()
		}
		return natstest.Pass
	})
	go func() {
		defer close(o.ended)
		life, err := store.Requeue(s.ctx, testPlace(d.ID), d.Life, d.Seq, Revival{})
		_, duplicate := errors.AsType[*DuplicateError](err)
		switch {
		case err == nil && life != job.RequeuedLife(d.Life):
			s.t.Errorf("requeued as %s", life)
		case err == nil, duplicate:
		case patience > 0, errors.Is(err, nats.ErrConnectionClosed): // he gave up, or died
		default:
			s.t.Errorf("requeue %s: %v", d.ID, err)
		}
	}()
	s.settleDown()
	return o
}

func (o *operator) gone() bool {
	select {
	case <-o.ended:
		return true
	default:
		return false
	}
}

// A requeueModel has workers and operators that stop anywhere, over jobs of a few ids.
type requeueModel struct {
	zombieModel
	dead      []*DeadJob // that anybody was ever told of
	operators []*operator
}

func (m *requeueModel) look(*rapid.T) {
	for d, err := range m.store.Dead(m.ctx, DeadFilter{}) {
		if err != nil {
			m.t.Fatalf("dead: %v", err)
		}
		m.dead = append(m.dead, d)
	}
}

func (m *requeueModel) begin(t *rapid.T) {
	m.look(t)
	if len(m.dead) == 0 {
		t.Skip("nothing has died")
	}
	d := m.dead[rapid.IntRange(0, len(m.dead)-1).Draw(t, "dead")]
	patience := rapid.SampledFrom([]time.Duration{4 * time.Second, -1}).Draw(t, "patience")
	m.operators = append(m.operators, m.operator(d, patience))
}

func (m *requeueModel) anyOperator(t *rapid.T) *operator {
	var alive []*operator
	for _, o := range m.operators {
		if !o.gone() {
			alive = append(alive, o)
		}
	}
	if len(alive) == 0 {
		t.Skip("nobody")
	}
	return alive[rapid.IntRange(0, len(alive)-1).Draw(t, "operator")]
}

func (m *requeueModel) goOn(t *rapid.T) {
	m.anyOperator(t).link.Release()
	m.settleDown()
}

func (m *requeueModel) kill(t *rapid.T) {
	o := m.anyOperator(t)
	o.link.Crash()
	o.nc.Close()
	o.link.Release()
	<-o.ended
}

// forget passes the time in which the broker knows a message by its id.
func (m *requeueModel) forget(*rapid.T) { time.Sleep(DedupWindow + time.Second) }

// finish lets everybody go on, and has all run again that is still dead, until nothing is.
func (m *requeueModel) finish() {
	for _, o := range m.operators {
		o.link.Watch(nil)
		o.link.Release()
	}
	m.zombieModel.finish()
	for _, o := range m.operators {
		<-o.ended // some waited for a worker
	}
	m.node("after all").finishAll(Outcome{Kind: job.EventSucceeded})
	for round := range 10 {
		n := 0
		for d, err := range m.store.Dead(m.ctx, DeadFilter{}) {
			if err != nil {
				m.t.Fatalf("dead: %v", err)
			}
			n++
			if _, err := m.store.Requeue(m.ctx, testPlace(d.ID), d.Life, d.Seq, Revival{}); err != nil {
				if _, duplicate := errors.AsType[*DuplicateError](err); !duplicate {
					m.t.Errorf("requeue %s: %v", d.ID, err)
				}
			}
		}
		if n == 0 {
			return
		}
		m.node("round " + string(rune('0'+round))).finishAll(Outcome{Kind: job.EventSucceeded})
	}
	m.t.Errorf("dead jobs are left: %q", m.deadIDs(DeadFilter{}))
}

// check fails the test unless every life has ended once, and every one that died goes on in one
// other, whose first message ran once at most.
func (m *requeueModel) check() {
	died, revived := 0, 0
	for life, events := range m.events() {
		ends := 0
		for _, e := range events {
			if e.Kind.Final() {
				ends++
			}
			if e.Kind == job.EventDead {
				died++
			}
		}
		if last := events[len(events)-1]; ends != 1 || !last.Kind.Final() {
			m.t.Errorf("%s has %d ends: %s", life, ends, m.kinds(life))
		}
		if strings.HasPrefix(life, "q-") {
			revived++
		}
	}
	if died != revived {
		m.t.Errorf("%d died, and %d lives came of them", died, revived)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for life, n := range m.ran {
		if n > 1 {
			m.t.Errorf("%s ran from its beginning %d times", life, n)
		}
	}
}

// Dead jobs are requeued by operators who die between any two steps, who were told long ago, or do it
// at the same time, while workers run, lose and bury the same jobs: whatever died goes on in one
// life, which runs once.
func TestRequeueOnce(t *testing.T) {
	natstest.Check(t, func(t *rapid.T, server *natstest.Server) {
		m := &requeueModel{zombieModel: zombieModel{scene: newScene(t, server), checked: true}}
		steps := make(modeltest.Steps)
		steps.Add("enqueue", 3, m.enqueue)
		steps.Add("pull", 6, m.pull)
		steps.Add("step", 12, m.step)
		steps.Add("expire", 2, m.expire)
		steps.Add("crash", 1, m.crash)
		steps.Add("begin", 4, m.begin)
		steps.Add("go on", 12, m.goOn)
		steps.Add("kill", 1, m.kill)
		steps.Add("forget", 1, m.forget)
		t.Repeat(steps)
		m.finish()
		m.check()
	})
}
