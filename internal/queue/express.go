package queue

import (
	"slices"
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
	crowded := s.express > s.crowd
	s.mu.Unlock()
	token, err := s.sendEvent(t, crowded)
	if err != nil {
		s.unsure([]*settlement{t})
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

// answered implements [sender]: the event of t is stored, or was refused.
func (t *settlement) answered(_ uint64, err error) {
	one := [...]*settlement{t}
	if err != nil {
		t.settler.unsure(one[:])
		return
	}
	t.settler.stored(one[:])
}

// stored acknowledges jobs whose events are. Those that have left the lane are not its any more.
func (s *Settler) stored(ts []*settlement) {
	ts = s.land(ts)
	done, now := ts[:0], time.Now()
	for i, t := range ts {
		t.confirmed = true
		if t.lease.check(now) != nil || s.store.nc.Publish(t.reply, s.store.ackBody) != nil {
			s.redirect(ts[i : i+1])
			continue
		}
		done = append(done, t)
	}
	if len(done) == 0 {
		return
	}
	s.keeper.release(done)
	s.mu.Lock()
	for _, t := range done {
		delete(s.open, t)
	}
	s.express -= len(done)
	last := s.ending && s.express == 0
	s.mu.Unlock()
	for _, t := range done {
		<-s.room
		s.report(t, nil)
	}
	if last {
		s.wakeRun()
	}
}

// unsure has those settled step by step of which it is not known whether their event is
// stored, or known that it is not.
func (s *Settler) unsure(ts []*settlement) { s.redirect(s.land(ts)) }

// land claims from the lane those of ts that have not left it, in place.
func (s *Settler) land(ts []*settlement) []*settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(ts, func(t *settlement) bool {
		if t.lane.at != flying {
			return true
		}
		t.lane.at = answered
		return false
	})
}

// redirect has ts, which have landed, settled step by step.
func (s *Settler) redirect(ts []*settlement) {
	if len(ts) == 0 {
		return
	}
	s.mu.Lock()
	for _, t := range ts {
		s.leave(t)
	}
	s.mu.Unlock()
	s.wakeRun()
}

// leave takes t off the lane. It must be called with mu held.
func (s *Settler) leave(t *settlement) {
	t.lane.at = offLane
	s.express--
	s.todo = append(s.todo, t)
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
	s.ingest.expire(now)
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

// crowdedLane is how many on the lane are so many that their events are confirmed together.
const crowdedLane = 16

// sendEvent publishes the event that t succeeded, in a batch if others are on the lane. The
// connection keeps nothing of it.
func (s *Settler) sendEvent(t *settlement, crowded bool) (token uint64, err error) {
	f := s.frames.get()
	defer s.frames.put(f)
	e := t.event(t.lane.sent)
	if f.body, err = appendEvent(f.body[:0], &e); err != nil {
		return 0, err
	}
	f.expected[0] = strconv.FormatUint(t.lastEvent, 10)
	f.msg.Subject = s.store.names.event(t.Queue, t.Type, t.ID)
	f.msg.Data = f.body
	if crowded && s.ingest.send(&f.msg, t, t.lane.sent) {
		return 0, nil
	}
	return s.store.publisher.send(&f.msg, t)
}
