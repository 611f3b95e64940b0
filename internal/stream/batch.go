package stream

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

// How a [Batcher] groups what it writes.
const (
	batchEvery    = 64                   // writes that one answer confirms, at most
	batchSize     = 4096                 // writes of one batch
	batchPatience = 4 * time.Millisecond // without a confirmation, after which a batch is ended to have its rest confirmed
	batchIdle     = 5 * time.Second      // without a write, after which a batch is not used again; the broker drops it after 10

	batchPause    = time.Second // after a batch that broke, doubled each time
	batchPauseMax = time.Minute
	batchProof    = 1024 // confirmed writes of a batch, if it does not end before, that end the doubling
)

// A Batcher writes messages to one stream in fast-ingest batches (nats-server: ADR-50): each
// message is stored by itself and under its own condition, and the stream confirms many at once.
// It is for many writes at a time; a single one is confirmed sooner when it is published by itself.
//
// Batches have no gaps: the stream ends one at the first write that is refused or did not
// reach it, so a confirmation of the nth says that all up to it are stored, whatever answers
// were lost. What has not been confirmed when a batch ends may be stored or not.
//
// Each write has an item of type T, by which the caller knows it. Of each the caller is told once
// at most: that it is stored, or that it is unsure whether it is. Lost answers are not told, so
// the caller needs a timeout of its own. A Batcher is safe for concurrent use.
type Batcher[T any] struct {
	nc     *nats.Conn
	stored func([]T)
	unsure func([]T)

	// mu is held while messages are published, since the stream takes the writes of a batch
	// only in the order of the sequences that are given under it.
	mu      sync.Mutex
	sub     *nats.Subscription   // nil until the first write
	inbox   string               // with the dot before the batch's id
	open    *batch[T]            // takes writes, nil if none does
	batches map[string]*batch[T] // by id: those with unconfirmed writes, and open
	timer   *time.Timer          // runs checkProgress while open has unconfirmed writes
	pause   time.Duration        // after the last batch that broke
	resume  time.Time            // no batch is begun before
}

// A batch is a run of writes without gaps.
type batch[T any] struct {
	id        string
	replies   string // what the reply subjects of its writes begin with
	items     []T    // of its writes; the first has sequence 1 in the batch
	confirmed int    // how many of them are
	broken    bool   // one was refused or lost
	checked   int    // how many were confirmed when checkProgress ran last
	subject   string // of the last write
	last      time.Time
}

// The operations that a reply subject names.
const (
	opStart  = ".0.$FI"
	opAppend = ".1.$FI"
	opEnd    = ".3.$FI" // nothing is written
)

// NewBatcher returns a batcher that publishes over nc. It calls stored and unsure with the items
// of writes, in the order in which they were sent, on a goroutine of the connection that they must
// not hold up. The slices are theirs.
func NewBatcher[T any](nc *nats.Conn, stored, unsure func([]T)) *Batcher[T] {
	return &Batcher[T]{nc: nc, stored: stored, unsure: unsure}
}

// Send publishes m, whose reply subject it sets, if a batch can take it now. It reports whether
// it did. It keeps item and nothing of m.
func (g *Batcher[T]) Send(m *nats.Msg, item T, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.current(now)
	if b == nil {
		return false
	}
	op := opAppend
	if len(b.items) == 0 {
		op = opStart
	}
	m.Reply = b.reply(op)
	if g.nc.PublishMsg(m) != nil {
		return false
	}
	b.items, b.subject, b.last = append(b.items, item), m.Subject, now
	switch len(b.items) {
	case batchSize:
		g.end(b)
	case b.confirmed + 1:
		b.checked = b.confirmed
		g.timer.Reset(batchPatience)
	}
	return true
}

// Expire forgets the batches whose answers are lost: they have not come within [RequestTimeout] of
// the last write. The caller has given up these writes by a timeout of its own.
func (g *Batcher[T]) Expire(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, b := range g.batches {
		if b.confirmed < len(b.items) && now.Sub(b.last) >= RequestTimeout {
			delete(g.batches, id)
			if g.open == b {
				g.open = nil
			}
		}
	}
}

// Close drops the subscription until the next write. Writes without an answer become unsure.
func (g *Batcher[T]) Close() {
	g.mu.Lock()
	sub := g.sub
	g.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe() // gone with the connection otherwise
	}
}

// current returns the batch that takes writes, nil if none can.
func (g *Batcher[T]) current(now time.Time) *batch[T] {
	if b := g.open; b != nil {
		if now.Sub(b.last) < batchIdle {
			return b
		}
		g.open = nil
		if b.confirmed == len(b.items) {
			delete(g.batches, b.id)
		}
	}
	if now.Before(g.resume) || g.sub == nil && !g.subscribe() {
		return nil
	}
	id := strconv.FormatUint(rand.Uint64(), 36)
	g.open = &batch[T]{
		id: id, replies: g.inbox + id + "." + strconv.Itoa(batchEvery) + ".fail.",
		items: make([]T, 0, batchEvery), last: now,
	}
	g.batches[id] = g.open
	return g.open
}

// reply is the reply subject of the next write, or of the end.
func (b *batch[T]) reply(op string) string {
	var buf [128]byte
	s := strconv.AppendInt(append(buf[:0], b.replies...), int64(len(b.items)+1), 10)
	return string(append(s, op...))
}

// subscribe reports whether answers can come.
func (g *Batcher[T]) subscribe() bool {
	inbox := g.nc.NewInbox() + "."
	sub, err := g.nc.Subscribe(inbox+">", g.receive)
	if err != nil {
		return false
	}
	sub.SetClosedHandler(func(string) { g.closed(sub) })
	if sub.SetPendingLimits(-1, -1) != nil { // there are fewer answers than writes, and all are small
		return false
	}
	g.sub, g.inbox, g.batches = sub, inbox, make(map[string]*batch[T])
	if g.timer == nil {
		g.timer = time.AfterFunc(time.Hour, g.checkProgress)
	}
	return true
}

// checkProgress ends the open batch if its last writes wait for others to be confirmed with.
func (g *Batcher[T]) checkProgress() {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.open
	switch {
	case b == nil || b.confirmed == len(b.items):
	case b.confirmed == b.checked:
		g.end(b)
	default:
		b.checked = b.confirmed
		g.timer.Reset(batchPatience)
	}
}

// end has the stream confirm what it has of b, which takes no more writes.
func (g *Batcher[T]) end(b *batch[T]) {
	g.open = nil
	// If this is lost, so is most likely what it is for, and nobody waits for ever.
	_ = g.nc.PublishMsg(&nats.Msg{Subject: b.subject, Reply: b.reply(opEnd)})
}

// A batchAnswer is any of what a stream says about a batch.
type batchAnswer struct {
	Type    string              `json:"type"`     // "ack", "gap", "err", or none
	Seq     uint64              `json:"seq"`      // of the write that it is about
	LastSeq uint64              `json:"last_seq"` // "gap": the first write that is missing
	Batch   string              `json:"batch"`    // the batch has ended
	Count   uint64              `json:"count"`    // how many writes it had
	Error   *jetstream.APIError `json:"error"`
}

func (g *Batcher[T]) receive(m *nats.Msg) {
	var a batchAnswer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		a = batchAnswer{} // nobody is there to say anything
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(m.Subject, g.inbox), ".")
	stored, unsure := g.apply(id, a)
	g.tell(stored, unsure)
}

func (g *Batcher[T]) tell(stored, unsure []T) {
	if len(stored) > 0 {
		g.stored(stored)
	}
	if len(unsure) > 0 {
		g.unsure(unsure)
	}
}

// apply returns the writes of a batch that a confirms, and those that will not be confirmed.
func (g *Batcher[T]) apply(id string, a batchAnswer) (stored, unsure []T) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.batches[id]
	if b == nil {
		return nil, nil
	}
	switch {
	case a.Type == "ack":
		stored = b.confirm(a.Seq)
	case a.Type == "err":
		unsure = g.breakAt(b, a.Seq)
	case a.Type == "gap":
		unsure = g.breakAt(b, a.LastSeq)
	case a.Batch == id && a.Error == nil:
		stored = b.confirm(a.Count)
		unsure = g.breakAt(b, a.Count+1)
	default:
		unsure = g.breakAt(b, 1)
	}
	if b.confirmed >= batchProof || a.Batch == id && !b.broken {
		g.pause = 0
	}
	if b != g.open && b.confirmed == len(b.items) {
		delete(g.batches, id)
	}
	return stored, unsure
}

// confirm returns the writes up to the nth that were not confirmed before.
func (b *batch[T]) confirm(n uint64) []T {
	to := max(int(min(n, uint64(len(b.items)))), b.confirmed)
	stored := slices.Clone(b.items[b.confirmed:to])
	clear(b.items[b.confirmed:to]) // they may be large, and the batch goes on for long
	b.confirmed = to
	return stored
}

// breakAt returns the unconfirmed writes from the nth on, and takes them from b, which takes no
// more: the stream has ended it. If there are any, no batch is begun for a while.
func (g *Batcher[T]) breakAt(b *batch[T], n uint64) []T {
	from := max(int(min(n-1, uint64(len(b.items)))), b.confirmed)
	unsure := b.items[from:]
	b.items = b.items[:from]
	if g.open == b {
		g.open = nil
	}
	if len(unsure) > 0 {
		b.broken = true
		g.pause = min(max(2*g.pause, batchPause), batchPauseMax)
		g.resume = b.last.Add(g.pause)
	}
	return unsure
}

// closed gives up all writes for which no answer can come any more.
func (g *Batcher[T]) closed(sub *nats.Subscription) {
	g.mu.Lock()
	if g.sub != sub {
		g.mu.Unlock()
		return
	}
	var waiting []T
	for _, b := range g.batches {
		waiting = append(waiting, b.items[b.confirmed:]...)
	}
	g.sub, g.open, g.batches = nil, nil, nil
	g.mu.Unlock()
	g.tell(nil, waiting)
}
