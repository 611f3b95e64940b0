package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"weak"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A publisher has any number of writes to streams in flight at once. Their answers come
// to one inbox with one subscription, and each is told on the connection's goroutine to
// its receiver: no goroutine, timer or context belongs to a write. It retries
// nothing and has no timeouts: a caller that has waited long enough calls [publisher.forget].
type publisher struct {
	nc      *nats.Conn
	denials denials

	mu    sync.Mutex
	users int                // clients that are not closed
	sub   *nats.Subscription // nil until the first write
	inbox string             // with the dot before the token
	calls []call
	free  []uint32 // places in calls
	count uint64   // of writes so far
}

// publishers are the publishers of connections: one for all clients of a connection, since a
// program may make a client for each of its requests. It keeps none of them alive.
type publishers struct {
	mu sync.Mutex
	of map[weak.Pointer[nats.Conn]]weak.Pointer[publisher]
}

//nolint:gochecknoglobals // a connection has no place for what is shared over it
var sharedPublishers = publishers{of: make(map[weak.Pointer[nats.Conn]]weak.Pointer[publisher])}

// join returns the publisher of nc, for one client more.
func (s *publishers) join(nc *nats.Conn) *publisher {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := weak.Make(nc)
	p := s.of[key].Value()
	if p == nil {
		p = &publisher{nc: nc}
		p.listen()
		s.of[key] = weak.Make(p)
		runtime.AddCleanup(p, s.sweep, key)
	}
	p.mu.Lock()
	p.users++
	p.mu.Unlock()
	return p
}

// sweep forgets the publisher of a connection if there is none any more.
func (s *publishers) sweep(key weak.Pointer[nats.Conn]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[key].Value() == nil {
		delete(s.of, key)
	}
}

// leave says that a client is closed. With the last one goes the subscription; a write after
// that makes a new one.
func (p *publisher) leave() {
	p.mu.Lock()
	p.users--
	var sub *nats.Subscription
	if p.users == 0 && len(p.free) == len(p.calls) {
		sub, p.sub = p.sub, nil // a write meanwhile must not use what is about to end
	}
	p.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe() // gone with the connection otherwise
	}
}

// A call is a write in flight, or a place for one.
type call struct {
	token   uint64 // 0: a free place
	to      Receiver
	client  *Client // whose write it is
	subject string
}

// A Receiver is told how a write was answered, once, on a goroutine that it must not hold up: the
// sequence of the stored message, or an error such as [ErrConflict].
type Receiver interface{ Answered(seq uint64, err error) }

// placeBits is how much of a token names its place.
const placeBits = 20

// send publishes m, whose reply subject it sets. Unless it returns an error, to will have
// an answer or is to be forgotten by the token.
func (p *publisher) send(c *Client, m *nats.Msg, to Receiver) (token uint64, err error) {
	if err := p.denials.hopeless(p.nc); err != nil {
		return 0, c.permission(err)
	}
	p.mu.Lock()
	if p.sub == nil || !p.sub.IsValid() {
		if err := p.subscribe(); err != nil {
			p.mu.Unlock()
			return 0, err
		}
	}
	if len(p.free) == 0 {
		p.free = append(p.free, uint32(len(p.calls)))
		p.calls = append(p.calls, call{})
	}
	last := len(p.free) - 1
	place := p.free[last]
	p.free = p.free[:last]
	p.count++
	token = p.count<<placeBits | uint64(place)
	p.calls[place] = call{token: token, to: to, client: c, subject: m.Subject}
	var buf [64]byte
	m.Reply = string(strconv.AppendUint(append(buf[:0], p.inbox...), token, 36))
	p.mu.Unlock()
	err = fits(m.Subject, m.Reply)
	if err == nil {
		err = unconnected(p.nc.PublishMsg(m))
	}
	if err != nil && p.forget(token) {
		return 0, err
	}
	return token, nil
}

// subscribe must be called with mu held.
func (p *publisher) subscribe() error {
	inbox := p.nc.NewInbox() + "."
	sub, err := p.nc.Subscribe(inbox+"*", p.receive)
	if err != nil {
		return err
	}
	sub.SetClosedHandler(func(string) { p.closed(sub) })
	p.sub, p.inbox = sub, inbox
	return sub.SetPendingLimits(-1, -1) // there are no more answers than writes, and all are small
}

// forget gives up waiting for an answer. It reports false if that was given already.
func (p *publisher) forget(token uint64) bool {
	_, ok := p.take(token)
	return ok
}

func (p *publisher) take(token uint64) (to Receiver, ok bool) {
	place := token & (1<<placeBits - 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if token == 0 || place >= uint64(len(p.calls)) || p.calls[place].token != token {
		return nil, false
	}
	to = p.calls[place].to
	p.calls[place] = call{}
	p.free = append(p.free, uint32(place))
	return to, true
}

func (p *publisher) receive(m *nats.Msg) {
	token, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	if err != nil {
		return
	}
	if to, ok := p.take(token); ok {
		to.Answered(readPubAck(m))
	}
}

// closed answers all writes for which no answer can come any more.
func (p *publisher) closed(sub *nats.Subscription) {
	p.mu.Lock()
	if p.sub != sub {
		p.mu.Unlock()
		return
	}
	p.sub = nil
	var waiting []Receiver
	for place, c := range p.calls {
		if c.token != 0 {
			waiting = append(waiting, c.to)
			p.calls[place] = call{}
			p.free = append(p.free, uint32(place))
		}
	}
	p.mu.Unlock()
	for _, to := range waiting {
		to.Answered(0, nats.ErrConnectionClosed)
	}
}

// readPubAck reads a stream's answer: the sequence of the stored message, or the error.
func readPubAck(m *nats.Msg) (seq uint64, err error) {
	if seq, ok := storedAs(m.Data); ok {
		return seq, nil
	}
	if len(m.Data) == 0 {
		if m.Header.Get(HeaderStatus) == statusNoResponders {
			return 0, nats.ErrNoResponders
		}
		return 0, errEmptyAnswer
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	switch err := json.Unmarshal(m.Data, &ack); {
	case err != nil:
		return 0, fmt.Errorf("answer of a stream: %w", err)
	case ack.Error == nil:
		return ack.Seq, nil
	case ack.Error.ErrorCode == CodeWrongLastSeq:
		return 0, newConflict(ack.Error)
	}
	return 0, ack.Error
}

// errEmptyAnswer is what a stream says to a message of an atomic batch that is not the last one:
// that it has it. Nothing else has an empty answer.
var errEmptyAnswer = errors.New("empty answer of a stream")

// storedAs reads the answer that is nearly all there are, {"stream":"S","seq":7} with or
// without a domain, and reports false for any other, whatever it says.
func storedAs(answer []byte) (seq uint64, ok bool) {
	rest, ok := bytes.CutPrefix(answer, []byte(`{"stream":"`))
	if !ok || !bytes.HasSuffix(rest, []byte("}")) {
		return 0, false
	}
	rest = rest[:len(rest)-1]
	digits := len(rest)
	for digits > 0 && rest[digits-1] >= '0' && rest[digits-1] <= '9' {
		digits--
	}
	if !bytes.HasSuffix(rest[:digits], []byte(`","seq":`)) || len(rest)-digits > maxDigits || len(rest) == digits {
		return 0, false
	}
	for _, c := range rest[digits:] {
		seq = 10*seq + uint64(c-'0')
	}
	return seq, true
}

// maxDigits is how many digits always fit 64 bits.
const maxDigits = 19

// ErrSubjectTooLong says that something was not sent. Checked names never lead to it.
var ErrSubjectTooLong = errors.New("subject is too long for the broker")

// maxSubjects leaves room beside the subjects for the rest of a control line of 4,096 bytes,
// which is as much as a broker accepts unless configured.
const maxSubjects = 4096 - 64

// maxSubjectShown is how much of a subject an error repeats, bytes.
const maxSubjectShown = 80

// fits returns an error for what the broker would end the connection for, instead of refusing
// it: more than the line that names a message's subjects may have.
func fits(subject, reply string) error {
	if n := len(subject) + len(reply); n > maxSubjects {
		return fmt.Errorf("%w: %d bytes, beginning with %q", ErrSubjectTooLong, n, subject[:min(len(subject), maxSubjectShown)])
	}
	return nil
}
