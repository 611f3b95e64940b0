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

// batchAbove is how many settlements are on the fast path when their events are confirmed together.
const batchAbove = 16

// publishEvents publishes the events of ts, whose answers let the acks follow, and acknowledges
// those that leave no event. Of those whose event is stored and whose id is to be kept, it publishes
// the hold instead, whose answer does. The jobs that were stored first go first, since it is the front of a
// stream where the broker removes messages at the least cost.
func (s *Settler) publishEvents(ts []*settlement, batched bool) {
	slices.SortFunc(ts, func(a, b *settlement) int { return cmp.Compare(a.Seq, b.Seq) })
	silent := ts[:0]
	for _, t := range ts {
		if t.confirmed && !t.keepsID() {
			silent = append(silent, t)
			continue
		}
		t.sent = time.Now() // of each: the connection may get stuck on one before it
		err := t.lease.check(t.sent)
		switch {
		case err != nil:
		case t.confirmed:
			t.token, err = s.sendHold(t)
		default:
			t.token, err = s.sendEvent(t, batched)
		}
		if err != nil {
			s.unsure([]*settlement{t})
		}
	}
	s.stored(silent)
}

// Answered implements [stream.Receiver]: the event of t, or its hold, is stored or was refused.
func (t *settlement) Answered(_ uint64, err error) {
	one := [...]*settlement{t}
	if err != nil {
		t.settler.unsure(one[:])
		return
	}
	t.settler.stored(one[:])
}

// stored acknowledges those of ts that are still in flight: their events are stored, or not
// wanted, and so are their holds.
func (s *Settler) stored(ts []*settlement) {
	ts = s.tracker.claim(ts)
	done := ts[:0]
	var counts []*settlement
	for i, t := range ts {
		if !t.confirmed && t.keepsID() {
			t.confirmed = true
			t.count()
			s.tracker.again(t)
			continue
		}
		if !t.confirmed {
			t.confirmed = true
			t.count()
		}
		switch {
		case !t.InWorkflow():
			done = append(done, t)
		case s.store.countsTogether(&t.Record):
			counts = append(counts, t)
		default:
			s.tracker.toSlowPath(ts[i : i+1])
		}
	}
	s.tracker.toCount(counts)
	s.acknowledge(done)
}

// acknowledge ends ts, of which nothing is left but their messages. It uses the slice.
func (s *Settler) acknowledge(ts []*settlement) {
	done := ts[:0]
	for i, t := range ts {
		if t.Alive() != nil || s.store.nc.Publish(t.reply, s.store.ackBody) != nil {
			s.tracker.toSlowPath(ts[i : i+1])
			continue
		}
		done = append(done, t)
	}
	if len(done) == 0 {
		return
	}
	s.renewer.release(done)
	for _, t := range done {
		s.room.leave(t.weight)
	}
	s.tracker.settled(done...)
	for _, t := range done {
		s.report(t, nil)
	}
}

// unsure moves to the slow path those of ts that are still in flight: their events may not be
// stored.
func (s *Settler) unsure(ts []*settlement) { s.tracker.toSlowPath(s.tracker.claim(ts)) }

// checkOverdue moves to the slow path those whose answers are lost. It reports whether any was on
// the fast path.
func (s *Settler) checkOverdue(now time.Time) (busy bool) {
	tokens, busy := s.tracker.claimOverdue(now.Add(-stream.RequestTimeout))
	s.batcher.Expire(now)
	s.forget(tokens)
	return busy
}

// forget gives up the answers to writes.
func (s *Settler) forget(tokens []uint64) {
	for _, token := range tokens {
		s.store.client.Forget(token)
	}
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

// sendEvent publishes the event that t succeeded, in a batch or by itself. The connection keeps
// nothing of it. The token is 0 in a batch.
func (s *Settler) sendEvent(t *settlement, batched bool) (token uint64, err error) {
	f := s.frame
	if cap(f.body) > maxFrame {
		f.body = nil
	}
	e := t.event(t.sent)
	if f.body, err = appendEvent(f.body[:0], &e); err != nil {
		return 0, err
	}
	f.expected[0] = strconv.FormatUint(t.lastEvent, 10)
	f.msg.Subject = s.store.names.event(t.place)
	f.msg.Data = f.body
	if batched && s.batcher.Send(&f.msg, t, t.sent) {
		return 0, nil
	}
	return s.store.client.Send(&f.msg, t)
}
