package stream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
)

// batchStream is what the writers of these tests write to.
func batchStream(batches bool) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowBatchPublish: batches}
}

// makeBatchStream makes that stream, over a connection of the test's own.
func makeBatchStream(t *testing.T, server *natstest.Server, cfg jetstream.StreamConfig) (*nats.Conn, jetstream.Stream) {
	t.Helper()
	nc := server.Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateOrUpdateStream(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return nc, s
}

// A writer sends numbered messages through a batcher, each under the condition that nothing is on
// its subject, and keeps what it is told of them.
type writer struct {
	t       *testing.T
	name    string
	link    *natstest.Link
	nc      *nats.Conn
	batcher *Batcher[int]
	sent    int // in batches

	mu     sync.Mutex
	stored map[int]bool
	unsure map[int]bool
}

func newWriter(t *testing.T, server *natstest.Server, name string) *writer {
	link := server.Link()
	w := &writer{t: t, name: name, link: link, nc: link.Connect(t), stored: make(map[int]bool), unsure: make(map[int]bool)}
	tell := func(told map[int]bool) func([]int) {
		return func(items []int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, i := range items {
				if w.stored[i] || w.unsure[i] {
					t.Errorf("write %d is told of twice", i)
				}
				told[i] = true
			}
		}
	}
	w.batcher = NewBatcher(w.nc, tell(w.stored), tell(w.unsure))
	return w
}

func (w *writer) subject(n int) string { return fmt.Sprintf("s.%s.%d", w.name, n) }

// send reports whether a batch took the next write.
func (w *writer) send() bool {
	m := &nats.Msg{Subject: w.subject(w.sent), Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: {"0"}}}
	if !w.batcher.Send(m, w.sent, time.Now()) {
		return false
	}
	w.sent++
	return true
}

func (w *writer) sendAll(n int) {
	w.t.Helper()
	for range n {
		if !w.send() {
			w.t.Fatalf("%s: no batch takes write %d", w.name, w.sent)
		}
	}
}

// sendTogether is sendAll of writes that the stream hears of only when all are sent: else it may
// refuse one before.
func (w *writer) sendTogether(n int) {
	w.t.Helper()
	w.link.Hold()
	defer w.link.Release()
	w.sendAll(n)
}

// occupy has the condition of a later write not hold.
func (w *writer) occupy(n int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
	defer cancel()
	if _, err := w.nc.RequestWithContext(ctx, w.subject(n), nil); err != nil {
		w.t.Fatal(err)
	}
}

// told waits until all writes so far are told of, and returns how long that took.
func (w *writer) told() time.Duration {
	w.t.Helper()
	began := time.Now()
	for ; time.Since(began) < RequestTimeout; time.Sleep(100 * time.Microsecond) {
		if stored, unsure := w.counts(); stored+unsure == w.sent {
			return time.Since(began)
		}
	}
	w.t.Fatalf("%s: told of %d writes of %d", w.name, len(w.stored)+len(w.unsure), w.sent)
	return 0
}

func (w *writer) counts() (stored, unsure int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.stored), len(w.unsure)
}

// checkStored fails the test unless all writes so far are stored.
func (w *writer) checkStored() {
	w.t.Helper()
	if stored, _ := w.counts(); stored != w.sent {
		w.t.Errorf("%s: %d of %d writes are stored", w.name, stored, w.sent)
	}
}

// pause is how long no batch was to be begun after the last one that broke.
func (w *writer) pause() time.Duration {
	w.batcher.mu.Lock()
	defer w.batcher.mu.Unlock()
	return w.batcher.pause
}

// kept is how many batches the batcher knows.
func (w *writer) kept() int {
	w.batcher.mu.Lock()
	defer w.batcher.mu.Unlock()
	return len(w.batcher.batches)
}

// A tap counts what passes the broker.
type tap struct {
	mu      sync.Mutex
	batches map[string]bool // by the beginning of their replies
	answers int             // to batches
}

func listen(t *testing.T, nc *nats.Conn) *tap {
	t.Helper()
	p := &tap{batches: make(map[string]bool)}
	count := func(m *nats.Msg) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if batch, _, ok := strings.Cut(m.Reply, ".fail."); ok {
			p.batches[batch] = true
		}
		if strings.HasPrefix(m.Subject, "_INBOX.") {
			p.answers++
		}
	}
	for _, subject := range []string{"s.>", "_INBOX.*.*.*.fail.*.*.$FI"} {
		if _, err := nc.Subscribe(subject, count); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	return p
}

// read returns what was counted since the last time.
func (p *tap) read() (batches, answers int) {
	time.Sleep(time.Millisecond) // it hears what others have heard already
	p.mu.Lock()
	defer p.mu.Unlock()
	batches, answers = len(p.batches), p.answers
	p.batches, p.answers = make(map[string]bool), 0
	return batches, answers
}

func TestWritesAreConfirmedTogether(t *testing.T) {
	for writers := 1; writers <= 3; writers++ { // the broker answers more often at first if there are several
		t.Run(strconv.Itoa(writers), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
				const writes = 100
				nc, _ := makeBatchStream(t, server, batchStream(true))
				tap := listen(t, nc)
				var all []*writer
				for i := range writers {
					all = append(all, newWriter(t, server, fmt.Sprint("w", i)))
				}
				for _, w := range all {
					w.sendAll(writes)
				}
				for _, w := range all {
					if took := w.told(); took > 3*batchPatience {
						t.Errorf("the last are confirmed after %v", took)
					}
					w.checkStored()
					if n := w.kept(); n != 0 {
						t.Errorf("%d batches kept", n)
					}
				}
				if _, answers := tap.read(); answers > writers*writes/4 {
					t.Errorf("%d answers for %d writes", answers, writers*writes)
				}
			})
		})
	}
}

// A write that is refused ends its batch, and for a while there is no other.
func TestRefusedWriteEndsTheBatch(t *testing.T) {
	for _, at := range []int{0, 1, 20, 39} {
		t.Run(strconv.Itoa(at), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
				makeBatchStream(t, server, batchStream(true))
				w := newWriter(t, server, "w")
				w.occupy(at)
				w.sendTogether(40)
				if took := w.told(); took > time.Second {
					t.Errorf("told after %v", took)
				}
				if stored, unsure := w.counts(); stored != at || unsure != 40-at {
					t.Errorf("%d are stored and %d unsure, want %d and %d", stored, unsure, at, 40-at)
				}
				if w.send() {
					t.Error("soon after, there is another batch")
				}
				time.Sleep(batchPause)
				w.sendAll(10)
				w.told()
				if stored, _ := w.counts(); stored != at+10 {
					t.Errorf("%d are stored of a later batch, want 10", stored-at)
				}
				if got := w.pause(); got != 0 {
					t.Errorf("pause %v after a batch that went well", got)
				}
			})
		})
	}
}

// With a stream that takes no batches, they are tried ever more rarely.
func TestStreamWithoutBatches(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		makeBatchStream(t, server, batchStream(false))
		w := newWriter(t, server, "w")
		for pause := batchPause; pause < 2*batchPauseMax; pause *= 2 {
			w.sendAll(3)
			w.told()
			if got, want := w.pause(), min(pause, batchPauseMax); got != want {
				t.Fatalf("pause %v, want %v", got, want)
			}
			time.Sleep(w.pause() / 2)
			if w.send() {
				t.Errorf("a batch is begun in a pause of %v", w.pause())
			}
			time.Sleep(w.pause() / 2)
		}
		if stored, _ := w.counts(); stored != 0 {
			t.Errorf("%d are stored", stored)
		}
		makeBatchStream(t, server, batchStream(true))
		w.sendAll(3)
		w.told()
		if stored, _ := w.counts(); stored != 3 || w.pause() != 0 {
			t.Errorf("once batches are taken, %d of 3 are stored and the pause is %v", stored, w.pause())
		}
	})
}

// Where each batch meets a condition that does not hold, they are tried ever more rarely, whatever
// was confirmed of them.
func TestBrokenBatchesBecomeRare(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		nc, _ := makeBatchStream(t, server, batchStream(true))
		tap := listen(t, nc)
		w := newWriter(t, server, "w")
		begun := 0
		for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(100 * time.Millisecond) {
			if !w.send() {
				continue
			}
			w.occupy(w.sent + 4)
			w.sendTogether(9)
			w.told()
			batches, _ := tap.read()
			begun += batches
		}
		if begun > 7 { // after 0, 1, 3, 7, 15, 31 s
			t.Errorf("%d batches begun and refused in a minute, want no more than 7", begun)
		}
	})
}

// A batch is used again unless the broker may be about to drop it, which it does after 10 s.
func TestIdleBatch(t *testing.T) {
	for idle, want := range map[time.Duration]int{time.Second: 1, 4 * time.Second: 1, 6 * time.Second: 2, 11 * time.Second: 2} {
		t.Run(idle.String(), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
				nc, _ := makeBatchStream(t, server, batchStream(true))
				tap := listen(t, nc)
				w := newWriter(t, server, "w")
				w.sendAll(2 * batchEvery) // all confirmed without an end
				w.told()
				time.Sleep(idle)
				w.sendAll(40)
				w.told()
				w.checkStored()
				if batches, _ := tap.read(); batches != want || w.pause() != 0 {
					t.Errorf("%d batches, pause %v, want %d batches", batches, w.pause(), want)
				}
			})
		})
	}
}

// A batch that is full is followed by another.
func TestBatchIsFull(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		nc, s := makeBatchStream(t, server, batchStream(true))
		tap := listen(t, nc)
		w := newWriter(t, server, "w")
		const writes = batchSize + 100
		w.sendAll(writes)
		if took := w.told(); took > 3*batchPatience {
			t.Errorf("told after %v", took)
		}
		w.checkStored()
		if batches, answers := tap.read(); batches != 2 || answers > writes/16 {
			t.Errorf("%d writes in %d batches, %d answers", writes, batches, answers)
		}
		info, err := s.Info(t.Context())
		if err != nil || info.State.Msgs != writes {
			t.Errorf("the stream has %+v, %v, want %d messages", info, err, writes)
		}
	})
}

// Whoever closes a batcher is told of all that has no answer, and may write again.
func TestClosedBatcherGivesUpItsWrites(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		makeBatchStream(t, server, batchStream(true))
		w := newWriter(t, server, "w")
		w.sendAll(10)
		w.batcher.Close()
		w.told()
		w.sendAll(10)
		w.told()
		if stored, _ := w.counts(); stored < 10 {
			t.Errorf("%d of 10 writes after the end are stored", stored)
		}
	})
}

// One answer about five writes, of which the first is confirmed already.
func TestWhatAnAnswerSaysOfABatch(t *testing.T) {
	refused := &jetstream.APIError{Description: "wrong last sequence"}
	for _, tt := range []struct {
		name           string
		answer         batchAnswer
		stored, unsure []int
	}{
		{"begun", batchAnswer{Type: "ack"}, nil, nil},
		{"the first three are stored", batchAnswer{Type: "ack", Seq: 3}, []int{2, 3}, nil},
		{"the first again", batchAnswer{Type: "ack", Seq: 1}, nil, nil},
		{"more than there are", batchAnswer{Type: "ack", Seq: 99}, []int{2, 3, 4, 5}, nil},
		{"the third is refused", batchAnswer{Type: "err", Seq: 3, Error: refused}, nil, []int{3, 4, 5}},
		{"the third is missing", batchAnswer{Type: "gap", LastSeq: 3, Seq: 5}, nil, []int{3, 4, 5}},
		{"ended with three", batchAnswer{Batch: "b", Count: 3}, []int{2, 3}, []int{4, 5}},
		{"ended with all", batchAnswer{Batch: "b", Count: 5}, []int{2, 3, 4, 5}, nil},
		{"ended with an error", batchAnswer{Batch: "b", Count: 5, Error: refused}, nil, []int{2, 3, 4, 5}},
		{"not known", batchAnswer{Error: refused}, nil, []int{2, 3, 4, 5}},
		{"nobody is there", batchAnswer{}, nil, []int{2, 3, 4, 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &batch[int]{id: "b", items: []int{1, 2, 3, 4, 5}, confirmed: 1, last: time.Now()}
			g := &Batcher[int]{batches: map[string]*batch[int]{"b": b}, open: b}
			stored, unsure := g.apply("b", tt.answer)
			if !slices.Equal(stored, tt.stored) || !slices.Equal(unsure, tt.unsure) {
				t.Errorf("stored %v, unsure %v, want %v and %v", stored, unsure, tt.stored, tt.unsure)
			}
			broken := len(tt.unsure) > 0
			if ended := broken || tt.answer.Batch != ""; (g.open == nil) != ended || (g.pause > 0) != broken {
				t.Errorf("open %v, pause %v; want it ended: %t, broken: %t", g.open, g.pause, ended, broken)
			}
		})
	}
}
