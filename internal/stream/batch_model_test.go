package stream

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/modeltest"
)

// A modelStream is a stream as far as batches go: what it stores, and what it says.
type modelStream struct {
	batches map[string]*modelBatch // those that go on
	stored  map[int]bool
	answers []modelAnswer // on their way
}

type modelBatch struct{ stored, acked int }

type modelAnswer struct {
	id string
	batchAnswer
}

func (s *modelStream) say(id string, a batchAnswer) {
	s.answers = append(s.answers, modelAnswer{id, a})
}

// write is what processJetStreamFastBatchMsg of nats-server does.
func (s *modelStream) write(id string, seq, item int, refused bool, every int) {
	b := s.batches[id]
	switch {
	case b == nil && seq > 1:
		s.say(id, batchAnswer{Error: &jetstream.APIError{Description: "batch publish ID is unknown"}})
		return
	case b == nil:
		b = &modelBatch{}
		s.batches[id] = b
	}
	switch {
	case seq != b.stored+1:
		s.say(id, batchAnswer{Type: "gap", LastSeq: uint64(b.stored + 1), Seq: uint64(seq)})
		s.end(id)
	case refused && seq == 1:
		s.say(id, batchAnswer{Error: &jetstream.APIError{Description: "wrong last sequence"}})
		delete(s.batches, id)
	case refused:
		s.say(id, batchAnswer{Type: "err", Seq: uint64(seq), Error: &jetstream.APIError{Description: "wrong last sequence"}})
		s.end(id)
	default:
		if seq == 1 {
			s.say(id, batchAnswer{Type: "ack"})
		}
		b.stored, s.stored[item] = seq, true
		if b.stored >= b.acked+every {
			b.acked = b.stored
			s.say(id, batchAnswer{Type: "ack", Seq: uint64(seq)})
		}
	}
}

// endAfter answers the end of a batch that was sent after the nth write.
func (s *modelStream) endAfter(id string, n int) {
	if b := s.batches[id]; b != nil && b.stored == n {
		s.end(id)
		return
	}
	s.write(id, n+1, -1, true, 1)
}

func (s *modelStream) end(id string) {
	s.say(id, batchAnswer{Batch: id, Count: uint64(s.batches[id].stored)})
	delete(s.batches, id)
}

// A batchModel is a batcher that writes to a modelStream over a line that loses things.
type batchModel struct {
	batcher *Batcher[int]
	stream  *modelStream
	writes  int
	fates   map[int]string // by write: what the batcher said of it
	lossy   bool           // an answer was lost, so that some writes may have no fate
}

func newBatchModel() *batchModel {
	return &batchModel{
		batcher: &Batcher[int]{batches: make(map[string]*batch[int])},
		stream:  &modelStream{batches: make(map[string]*modelBatch), stored: make(map[int]bool)},
		fates:   make(map[int]string),
	}
}

// oneIn is true about once in n times.
func oneIn(t *rapid.T, n int, what string) bool { return rapid.IntRange(0, n-1).Draw(t, what) == 0 }

func (m *batchModel) write(t *rapid.T) {
	g := m.batcher
	if g.open == nil {
		id := fmt.Sprint("b", m.writes)
		g.open = &batch[int]{id: id, last: time.Now()}
		g.batches[id] = g.open
	}
	b, item := g.open, m.writes
	m.writes++
	b.items = append(b.items, item)
	if !oneIn(t, 12, "write lost") {
		m.stream.write(b.id, len(b.items), item, oneIn(t, 12, "refused"), rapid.IntRange(1, 3).Draw(t, "every"))
	}
}

func (m *batchModel) end(t *rapid.T) {
	b := m.batcher.open
	if b == nil || b.confirmed == len(b.items) {
		return
	}
	m.batcher.open = nil
	if oneIn(t, 6, "end lost") {
		m.lossy = true
		return
	}
	m.stream.endAfter(b.id, len(b.items))
}

// hear delivers an answer: late, or again, or not at all.
func (m *batchModel) hear(t *rapid.T) {
	s := m.stream
	if len(s.answers) == 0 {
		t.Skip("silence")
	}
	i := 0
	if oneIn(t, 3, "out of order") {
		i = rapid.IntRange(0, len(s.answers)-1).Draw(t, "which")
	}
	if oneIn(t, 6, "answer lost") {
		m.lossy = true
	} else {
		m.apply(t, s.answers[i])
	}
	if !oneIn(t, 6, "again") {
		s.answers = slices.Delete(s.answers, i, i+1)
	}
}

func (m *batchModel) apply(t *rapid.T, a modelAnswer) {
	stored, unsure := m.batcher.apply(a.id, a.batchAnswer)
	m.note(t, stored, "confirmed")
	m.note(t, unsure, "given up")
}

func (m *batchModel) note(t *rapid.T, items []int, fate string) {
	for _, item := range items {
		if m.fates[item] != "" {
			t.Fatalf("write %d is %s, and was %s before", item, fate, m.fates[item])
		}
		if m.fates[item] = fate; fate == "confirmed" && !m.stream.stored[item] {
			t.Fatalf("write %d is confirmed and not stored", item)
		}
	}
}

// drop is a restart of the broker, or 10 s without a write.
func (m *batchModel) drop(*rapid.T) { clear(m.stream.batches) }

func (m *batchModel) expire(*rapid.T) {
	m.lossy = true // whoever writes gives up those by its own clock
	m.batcher.Expire(time.Now().Add(RequestTimeout))
}

// finish ends what is open and delivers all answers.
func (m *batchModel) finish(t *rapid.T) {
	for range 2 { // the answer to the end may say that an earlier write is missing
		m.end(t)
		for ; len(m.stream.answers) > 0; m.stream.answers = m.stream.answers[1:] {
			m.apply(t, m.stream.answers[0])
		}
	}
}

// Writes and answers that are lost, late, out of order or told twice, writes that are
// refused, and batches that the stream drops: whatever is confirmed is stored, each write
// is told of once at most, and if all answers arrive, once.
func TestBatcherBelievesNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBatchModel()
		steps := make(modeltest.Steps)
		steps.Add("write", 16, m.write)
		steps.Add("hear", 8, m.hear)
		steps.Add("end", 4, m.end)
		steps.Add("drop", 1, m.drop)
		steps.Add("expire", 1, m.expire)
		t.Repeat(steps)
		m.finish(t)
		if m.lossy {
			return
		}
		for item := range m.writes {
			if m.fates[item] == "" {
				t.Fatalf("nothing is said of write %d", item)
			}
		}
		for id, b := range m.batcher.batches {
			if b != m.batcher.open {
				t.Fatalf("batch %s is kept", id)
			}
		}
	})
}
