package queue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"
)

// An ingestStream is a stream as far as batches go: what it stores, and what it says.
type ingestStream struct {
	batches map[string]*streamBatch // those that go on
	stored  map[*settlement]bool
	answers []ingestSaid
}

type streamBatch struct{ stored, said int }

type ingestSaid struct {
	id string
	ingestAnswer
}

func (s *ingestStream) say(id string, a ingestAnswer) {
	s.answers = append(s.answers, ingestSaid{id, a})
}

// write is what processJetStreamFastBatchMsg of nats-server does.
func (s *ingestStream) write(id string, seq int, w *settlement, refused bool, every int) {
	b := s.batches[id]
	switch {
	case b == nil && seq > 1:
		s.say(id, ingestAnswer{Error: &jetstream.APIError{Description: "batch publish ID is unknown"}})
		return
	case b == nil:
		b = &streamBatch{}
		s.batches[id] = b
	}
	switch {
	case seq != b.stored+1:
		s.say(id, ingestAnswer{Type: "gap", LastSeq: uint64(b.stored + 1), Seq: uint64(seq)})
		s.end(id)
	case refused && seq == 1:
		s.say(id, ingestAnswer{Error: &jetstream.APIError{Description: "wrong last sequence"}})
		delete(s.batches, id)
	case refused:
		s.say(id, ingestAnswer{Type: "err", Seq: uint64(seq), Error: &jetstream.APIError{Description: "wrong last sequence"}})
		s.end(id)
	default:
		if seq == 1 {
			s.say(id, ingestAnswer{Type: "ack"})
		}
		b.stored, s.stored[w] = seq, true
		if b.stored >= b.said+every {
			b.said = b.stored
			s.say(id, ingestAnswer{Type: "ack", Seq: uint64(seq)})
		}
	}
}

func (s *ingestStream) end(id string) {
	s.say(id, ingestAnswer{Batch: id, Count: uint64(s.batches[id].stored)})
	delete(s.batches, id)
}

// Writes and answers that are lost, late, out of order or told twice, writes that are
// refused, and batches that the stream drops: whatever is confirmed is stored, each write
// is told of once at most, and if all answers arrive, once.
func TestIngestBelievesNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &ingest{batches: make(map[string]*batch)}
		s := &ingestStream{batches: make(map[string]*streamBatch), stored: make(map[*settlement]bool)}
		var writes []*settlement
		fates := make(map[*settlement]string)
		lossy := false
		one := func(n int, what string) bool { return rapid.IntRange(0, n-1).Draw(t, what) == 0 }
		tell := func(ts []*settlement, fate string) {
			for _, w := range ts {
				if w == nil || fates[w] != "" {
					t.Fatalf("write %d is %s, and was %q before", slices.Index(writes, w), fate, fates[w])
				}
				if fates[w] = fate; fate == "confirmed" && !s.stored[w] {
					t.Fatalf("write %d is confirmed and not stored", slices.Index(writes, w))
				}
			}
		}
		hear := func(a ingestSaid) {
			stored, unsure := g.apply(a.id, a.ingestAnswer)
			tell(stored, "confirmed")
			tell(unsure, "given up")
		}
		end := func() {
			if b := g.open; b != nil && b.confirmed < len(b.writes) {
				g.open = nil
				if one(6, "end lost") {
					lossy = true
					return
				}
				if sb := s.batches[b.id]; sb != nil && sb.stored == len(b.writes) {
					s.end(b.id)
				} else {
					s.write(b.id, len(b.writes)+1, nil, true, 1)
				}
			}
		}
		write := func(t *rapid.T) {
			if g.open == nil {
				id := fmt.Sprint("b", len(writes))
				g.open = &batch{id: id, last: time.Now()}
				g.batches[id] = g.open
			}
			b, w := g.open, &settlement{}
			writes = append(writes, w)
			b.writes = append(b.writes, w)
			if one(12, "write lost") {
				return
			}
			s.write(b.id, len(b.writes), w, one(12, "refused"), rapid.IntRange(1, 3).Draw(t, "every"))
		}
		listen := func(t *rapid.T) {
			if len(s.answers) == 0 {
				t.Skip("silence")
			}
			i := 0
			if one(3, "out of order") {
				i = rapid.IntRange(0, len(s.answers)-1).Draw(t, "which")
			}
			a := s.answers[i]
			if one(6, "answer lost") {
				lossy = true
			} else {
				hear(a)
			}
			if !one(6, "again") {
				s.answers = slices.Delete(s.answers, i, i+1)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": write, "write 2": write, "write 3": write, "write 4": write, "listen": listen, "listen 2": listen,
			"end": func(*rapid.T) { end() },
			"drop": func(t *rapid.T) { // the broker restarts, or nothing came for 10 s
				if !one(4, "rarely") {
					t.Skip("not now")
				}
				clear(s.batches)
			},
			"expire": func(t *rapid.T) {
				if !one(4, "rarely") {
					t.Skip("not now")
				}
				lossy = true // the settler takes those in doubt by its own clock
				g.expire(time.Now().Add(requestTimeout))
			},
		})
		for range 2 { // the answer to the end may say that an earlier write is missing
			end()
			for ; len(s.answers) > 0; s.answers = s.answers[1:] {
				hear(s.answers[0])
			}
		}
		if lossy {
			return
		}
		for i, w := range writes {
			if fates[w] == "" {
				t.Fatalf("nothing is said of write %d", i)
			}
		}
		for id, b := range g.batches {
			if b != g.open {
				t.Fatalf("batch %s is kept", id)
			}
		}
	})
}

// Where each batch meets an id that was used before, they are tried ever more rarely, whatever
// was confirmed of them.
func TestReusedIDsMakeBatchesRare(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		w := s.swarm("n")
		begun, single := 0, 0
		for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(100 * time.Millisecond) {
			held := w.pullAll(10)
			s.precede(held[5])
			w.succeed(held)
			w.settled()
			got := w.tap.read()
			begun += len(got.batches)
			single += got.single
		}
		t.Logf("in a minute %d batches were begun, all refused; %d events by themselves", begun, single)
		if begun > 7 { // after 0, 1, 3, 7, 15, 31 s
			t.Errorf("%d batches begun and refused in a minute, want no more than 7", begun)
		}
	})
}
