package queue

import (
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

// A lane says where on the express lane a settlement is. It belongs to [Settler.mu].
type lane struct {
	at    stop
	token uint64 // of its write, 0 until that is sent
	sent  time.Time
}

type stop uint8

const (
	offLane  stop = iota // it was never on it, or has left it
	flying               // its event is on its way
	answered             // the answer is being dealt with
)

// addExpress publishes the event of t and leaves the rest to the answer.
func (s *Settler) addExpress(t *settlement) {
	t.settler = s
	now := time.Now()
	alive := t.lease.check(now) == nil
	s.mu.Lock()
	s.open[t] = struct{}{}
	if !alive || !s.running {
		s.todo = append(s.todo, t)
		s.mu.Unlock()
		s.wakeRun()
		return
	}
	t.lane = lane{at: flying, sent: now}
	s.express++
	s.mu.Unlock()
	if t.confirmed {
		t.answered(t.lastEvent, nil)
		return
	}
	token, err := s.sendEvent(t)
	if err != nil {
		if s.land(t) {
			s.redirect(t)
		}
		return
	}
	s.mu.Lock()
	gone := t.lane.at == offLane
	t.lane.token = token
	s.mu.Unlock()
	if gone { // overdue before it was sent
		s.store.publisher.forget(token)
	}
}

// land claims t from the lane for its answer. It reports false if it has left before.
func (s *Settler) land(t *settlement) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.lane.at != flying {
		return false
	}
	t.lane.at = answered
	return true
}

// redirect has t, whose answer is not the one that all is well, settled step by step.
func (s *Settler) redirect(t *settlement) {
	s.mu.Lock()
	s.leave(t)
	s.mu.Unlock()
	s.wakeRun()
}

// leave takes t off the lane. It must be called with mu held.
func (s *Settler) leave(t *settlement) {
	t.lane.at = offLane
	s.express--
	s.todo = append(s.todo, t)
}

// answered implements [sender]: the event of t is stored, or was refused.
func (t *settlement) answered(seq uint64, err error) {
	s := t.settler
	if !s.land(t) {
		return
	}
	if err == nil {
		t.lastEvent, t.confirmed = seq, true
		if err = t.Alive(); err == nil {
			err = s.store.nc.Publish(t.reply, s.store.ackBody)
		}
	}
	if err != nil {
		s.redirect(t)
		return
	}
	s.settled(t, nil)
	s.mu.Lock()
	s.express--
	last := s.ending && s.express == 0
	s.mu.Unlock()
	if last {
		s.wakeRun()
	}
}

// overdue takes those off the lane whose answer is lost.
func (s *Settler) overdue(now time.Time) {
	var lost []uint64
	s.mu.Lock()
	for t := range s.open {
		if t.lane.at == flying && now.Sub(t.lane.sent) >= requestTimeout {
			s.leave(t)
			lost = append(lost, t.lane.token)
		}
	}
	s.mu.Unlock()
	for _, token := range lost {
		s.store.publisher.forget(token)
	}
	if len(lost) > 0 {
		s.wakeRun()
	}
}

// A frame is what one event needs to be published, to be used again for the next.
type frame struct {
	msg      nats.Msg
	expected []string // of its headers
	body     []byte
}

// frames are those that are not in use.
type frames struct{ pool sync.Pool }

// maxFrame bounds the body that a frame keeps, bytes.
const maxFrame = 16 << 10

func (f *frames) get() *frame {
	if b, ok := f.pool.Get().(*frame); ok {
		return b
	}
	b := &frame{expected: []string{""}}
	b.msg.Header = nats.Header{headerEvent: {string(job.EventSucceeded)}, headerExpectedSeq: b.expected}
	return b
}

func (f *frames) put(b *frame) {
	if cap(b.body) <= maxFrame {
		f.pool.Put(b)
	}
}

// sendEvent publishes the event that t succeeded. The connection keeps nothing of it.
func (s *Settler) sendEvent(t *settlement) (token uint64, err error) {
	f := s.frames.get()
	defer s.frames.put(f)
	e := t.event()
	if f.body, err = appendEvent(f.body[:0], &e); err != nil {
		return 0, err
	}
	f.expected[0] = strconv.FormatUint(t.lastEvent, 10)
	f.msg.Subject = s.store.names.event(t.Queue, t.Type, t.ID)
	f.msg.Data = f.body
	return s.store.publisher.send(&f.msg, t)
}
