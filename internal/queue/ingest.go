package queue

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How an ingest groups what it writes.
const (
	ingestEvery    = 64                   // writes that one answer confirms, at most
	ingestBatch    = 4096                 // writes of one batch
	ingestPatience = 4 * time.Millisecond // without a confirmation, after which a batch is ended to have its rest confirmed
	ingestIdle     = 5 * time.Second      // without a write, after which a batch is not used again; the broker drops it after 10
	ingestPause    = time.Second          // after a batch that broke, doubled each time
	ingestProof    = 1024                 // confirmed writes of a batch, if it does not end before, that end the doubling
	ingestPauseMax = time.Minute
)

// An ingest writes events in fast-ingest batches (nats-server: ADR-50): each is stored by
// itself and under its own condition, and the stream confirms many at once. It is for when
// events are many; one alone is confirmed sooner by a [publisher].
//
// Batches have no gaps: the stream ends one at the first write that is refused or did not
// reach it, so a confirmation of the nth says that all up to it are stored, whatever answers
// were lost. What has not been confirmed when a batch ends may be stored or not.
type ingest struct {
	nc      *nats.Conn
	settler *Settler // is told

	mu      sync.Mutex
	sub     *nats.Subscription // nil until the first write
	inbox   string             // with the dot before the batch
	open    *batch             // takes writes, nil if none does
	batches map[string]*batch  // those with unconfirmed writes, by id, and open
	clock   *time.Timer        // looks whether open is confirmed; runs while it is not
	pause   time.Duration      // the last one
	resume  time.Time          // no batch is begun before
}

// A batch is a run of writes without gaps.
type batch struct {
	id        string
	replies   string        // what the reply subjects of its writes begin with
	writes    []*settlement // the first has sequence 1 in the batch
	confirmed int           // how many of them are
	broken    bool          // one was refused or lost
	seen      int           // confirmed at the last look
	subject   string        // of the last write
	last      time.Time
}

// The operations that a reply subject names.
const (
	opStart  = ".0.$FI"
	opAppend = ".1.$FI"
	opEnd    = ".3.$FI" // nothing is written
)

// send publishes m, the event of t, whose reply subject it sets, if a batch can take it. It
// reports whether; then the settler is told of the answer, unless that is lost.
func (g *ingest) send(m *nats.Msg, t *settlement, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.current(now)
	if b == nil {
		return false
	}
	op := opAppend
	if len(b.writes) == 0 {
		op = opStart
	}
	m.Reply = b.reply(op)
	// In the order of their sequences, and so with the lock held.
	if g.nc.PublishMsg(m) != nil {
		return false
	}
	b.writes, b.subject, b.last = append(b.writes, t), m.Subject, now
	switch len(b.writes) {
	case ingestBatch:
		g.end(b)
	case b.confirmed + 1:
		b.seen = b.confirmed
		g.clock.Reset(ingestPatience)
	}
	return true
}

// current returns the batch that takes writes, nil if none can.
func (g *ingest) current(now time.Time) *batch {
	if b := g.open; b != nil {
		if now.Sub(b.last) < ingestIdle {
			return b
		}
		g.open = nil
		if b.confirmed == len(b.writes) {
			delete(g.batches, b.id)
		}
	}
	if now.Before(g.resume) || g.sub == nil && !g.subscribe() {
		return nil
	}
	id := strconv.FormatUint(rand.Uint64(), 36)
	g.open = &batch{
		id: id, replies: g.inbox + id + "." + strconv.Itoa(ingestEvery) + ".fail.",
		writes: make([]*settlement, 0, ingestEvery), last: now,
	}
	g.batches[id] = g.open
	return g.open
}

// reply is the reply subject of the next write, or of the end.
func (b *batch) reply(op string) string {
	var buf [128]byte
	s := strconv.AppendInt(append(buf[:0], b.replies...), int64(len(b.writes)+1), 10)
	return string(append(s, op...))
}

func (g *ingest) subscribe() bool {
	inbox := g.nc.NewInbox() + "."
	sub, err := g.nc.Subscribe(inbox+">", g.receive)
	if err != nil {
		return false
	}
	sub.SetClosedHandler(func(string) { g.closed(sub) })
	if sub.SetPendingLimits(-1, -1) != nil { // there are fewer answers than writes, and all are small
		return false
	}
	g.sub, g.inbox, g.batches = sub, inbox, make(map[string]*batch)
	if g.clock == nil {
		g.clock = time.AfterFunc(time.Hour, g.look)
	}
	return true
}

// end has the stream confirm what it has of b, which takes no more writes.
func (g *ingest) end(b *batch) {
	g.open = nil
	// If this is lost, so is most likely what it is for, and nobody waits for ever.
	_ = g.nc.PublishMsg(&nats.Msg{Subject: b.subject, Reply: b.reply(opEnd)})
}

// look ends the open batch if its last writes wait for others to be confirmed with.
func (g *ingest) look() {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.open
	switch {
	case b == nil || b.confirmed == len(b.writes):
	case b.confirmed == b.seen:
		g.end(b)
	default:
		b.seen = b.confirmed
		g.clock.Reset(ingestPatience)
	}
}

// An ingestAnswer is any of what a stream says of a batch.
type ingestAnswer struct {
	Type    string              `json:"type"`     // "ack", "gap", "err", or none
	Seq     uint64              `json:"seq"`      // of the write that it is about
	LastSeq uint64              `json:"last_seq"` // "gap": the first write that is missing
	Batch   string              `json:"batch"`    // the batch has ended
	Count   uint64              `json:"count"`    // with so many writes
	Error   *jetstream.APIError `json:"error"`
}

// receive takes in what the stream says.
func (g *ingest) receive(m *nats.Msg) {
	var a ingestAnswer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		a = ingestAnswer{} // nobody is there to say anything
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(m.Subject, g.inbox), ".")
	stored, unsure := g.apply(id, a)
	g.settler.stored(stored)
	g.settler.unsure(unsure)
}

// apply returns the writes of a batch that are confirmed by a, and those that will not be.
func (g *ingest) apply(id string, a ingestAnswer) (stored, unsure []*settlement) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.batches[id]
	switch {
	case b == nil:
	case a.Type == "ack":
		stored = b.confirm(a.Seq)
	case a.Type == "err":
		unsure = g.refused(b, a.Seq)
	case a.Type == "gap":
		unsure = g.refused(b, a.LastSeq)
	case a.Batch == id && a.Error == nil:
		stored = b.confirm(a.Count)
		unsure = g.refused(b, a.Count+1)
	default:
		unsure = g.refused(b, 1)
	}
	if b != nil && (b.confirmed >= ingestProof || a.Batch == id && !b.broken) {
		g.pause = 0
	}
	if b != nil && b != g.open && b.confirmed == len(b.writes) {
		delete(g.batches, id)
	}
	return stored, unsure
}

// confirm returns the writes up to the nth that were not confirmed before.
func (b *batch) confirm(n uint64) []*settlement {
	to := max(int(min(n, uint64(len(b.writes)))), b.confirmed)
	stored := slices.Clone(b.writes[b.confirmed:to])
	clear(b.writes[b.confirmed:to]) // they hold whole jobs, and the batch goes on for long
	b.confirmed = to
	return stored
}

// refused returns the writes from the nth on. If there are any, no batch is begun for a while;
// and b takes no more, since the stream has ended it.
func (g *ingest) refused(b *batch, n uint64) []*settlement {
	from := max(int(min(n-1, uint64(len(b.writes)))), b.confirmed)
	unsure := b.writes[from:]
	b.writes = b.writes[:from]
	if g.open == b {
		g.open = nil
	}
	if len(unsure) > 0 {
		b.broken = true
		g.pause = min(max(2*g.pause, ingestPause), ingestPauseMax)
		g.resume = b.last.Add(g.pause)
	}
	return unsure
}

// expire forgets the batches whose answers are lost.
func (g *ingest) expire(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, b := range g.batches {
		if b.confirmed < len(b.writes) && now.Sub(b.last) >= requestTimeout {
			delete(g.batches, id)
			if g.open == b {
				g.open = nil
			}
		}
	}
}

// close drops the subscription, until the next write.
func (g *ingest) close() {
	g.mu.Lock()
	sub := g.sub
	g.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe() // gone with the connection otherwise
	}
}

// closed gives up all writes for which no answer can come any more.
func (g *ingest) closed(sub *nats.Subscription) {
	g.mu.Lock()
	if g.sub != sub {
		g.mu.Unlock()
		return
	}
	var waiting []*settlement
	for _, b := range g.batches {
		waiting = append(waiting, b.writes[b.confirmed:]...)
	}
	g.sub, g.open, g.batches = nil, nil, nil
	g.mu.Unlock()
	g.settler.unsure(waiting)
}
