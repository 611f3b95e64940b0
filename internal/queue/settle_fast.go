package queue

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A lane says where on the express lane a settlement is.
type lane struct {
	at    stop   // belongs to [Settler.mu]
	token uint64 // of its write, 0 until that is sent, and in a batch; this and sent are of Run's goroutine
	sent  time.Time
}

type stop uint8

const (
	offLane  stop = iota // it was never on it, or has left it
	boarding             // it is to be published
	flying               // its event is on its way, or its ack if it leaves none
	answered             // the answer is being dealt with
)

// depart publishes the events of ts, whose answers let the acks follow, and acknowledges
// those that leave no event: the jobs that were stored first go first, since it is the front
// of a stream where the broker removes messages at the least cost.
func (s *Settler) depart(ts []*settlement, crowded bool) {
	slices.SortFunc(ts, func(a, b *settlement) int { return cmp.Compare(a.Seq, b.Seq) })
	silent := ts[:0]
	for _, t := range ts {
		if t.confirmed {
			silent = append(silent, t)
			continue
		}
		t.lane.sent = time.Now() // of each: the connection may get stuck on one before it
		err := t.lease.check(t.lane.sent)
		if err == nil {
			t.lane.token, err = s.sendEvent(t, crowded)
		}
		if err != nil {
			s.unsure([]*settlement{t})
		}
	}
	s.acknowledge(silent)
}

// Answered implements [stream.Receiver]: the event of t is stored, or was refused.
func (t *settlement) Answered(_ uint64, err error) {
	one := [...]*settlement{t}
	if err != nil {
		t.settler.unsure(one[:])
		return
	}
	t.settler.stored(one[:])
}

// stored acknowledges jobs whose events are. Those that have left the lane are not its any more.
func (s *Settler) stored(ts []*settlement) { s.acknowledge(s.land(ts)) }

// acknowledge removes the messages of ts, whose events are stored or not wanted. It is done with
// the slice as well.
func (s *Settler) acknowledge(ts []*settlement) {
	done := ts[:0]
	for i, t := range ts {
		t.confirmed = true
		if t.Alive() != nil || s.store.nc.Publish(t.reply, s.store.ackBody) != nil {
			s.redirect(ts[i : i+1])
			continue
		}
		done = append(done, t)
	}
	if len(done) == 0 {
		return
	}
	s.renewer.release(done)
	s.mu.Lock()
	for _, t := range done {
		delete(s.open, t)
	}
	s.express -= len(done)
	last := s.ending && s.express == 0
	s.mu.Unlock()
	for _, t := range done {
		s.room.leave(t.weight)
	}
	if last {
		s.wakeRun()
	}
	for _, t := range done {
		s.report(t, nil)
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

// redirect has ts, which have landed or have no event to wait for, settled step by step.
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

// overdue takes those off the lane whose answer is lost. It reports whether any was on it.
func (s *Settler) overdue(now time.Time) bool {
	var lost []uint64
	s.mu.Lock()
	busy := s.express > 0
	for t := range s.open {
		if t.lane.at == flying && now.Sub(t.lane.sent) >= stream.RequestTimeout {
			s.leave(t)
			lost = append(lost, t.lane.token)
		}
	}
	s.mu.Unlock()
	s.batcher.Expire(now)
	for _, token := range lost {
		s.store.client.Forget(token)
	}
	if len(lost) > 0 {
		s.wakeRun()
	}
	return busy
}

// A frame is what one event needs to be published, used again for the next.
type frame struct {
	msg      nats.Msg
	expected []string // of its headers
	body     []byte
}

// maxFrame bounds the body that a frame keeps, bytes.
const maxFrame = 16 << 10

func newFrame() *frame {
	expected := []string{""}
	header := nats.Header{headerEvent: {string(job.EventSucceeded)}, stream.HeaderExpectedSeq: expected}
	return &frame{msg: nats.Msg{Header: header}, expected: expected}
}

// crowdedLane is how many on the lane are so many that their events are confirmed together.
const crowdedLane = 16

// sendEvent publishes the event that t succeeded, in a batch if others are on the lane. The
// connection keeps nothing of it.
func (s *Settler) sendEvent(t *settlement, crowded bool) (token uint64, err error) {
	f := s.frame
	if cap(f.body) > maxFrame {
		f.body = nil
	}
	e := t.event(t.lane.sent)
	if f.body, err = appendEvent(f.body[:0], &e); err != nil {
		return 0, err
	}
	f.expected[0] = strconv.FormatUint(t.lastEvent, 10)
	f.msg.Subject = s.store.names.event(t.place)
	f.msg.Data = f.body
	if crowded && s.batcher.Send(&f.msg, t, t.lane.sent) {
		return 0, nil
	}
	return s.store.client.Send(&f.msg, t)
}
