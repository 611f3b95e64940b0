package natstest

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// A Fate is what becomes of a message that a client sends.
type Fate int

// The fates. A cut closes the connection, and the client reconnects unless the link is down.
const (
	Pass      Fate = iota
	CutBefore      // the server never sees the message
	CutAfter       // the server gets the message, the client no answer
	Lost           // the server never sees the message, and the connection stays
)

// A Link is one client's way to the server. It can be held, as a stopped process holds what
// it was about to send and to read. And it can be cut, even between two given messages.
type Link struct {
	server *Server

	mu   sync.Mutex
	conn *linkConn     // the last there was
	open chan struct{} // closed unless the link is held
	down bool
	slow time.Duration
	far  time.Duration // round-trip time

	shift atomic.Int64 // of the server's clock, nanoseconds

	watching sync.Mutex
	watch    func(subject string) Fate // asked for each message that is about to leave
}

// Link returns a way to the server, for one connection.
func (s *Server) Link() *Link {
	open := make(chan struct{})
	close(open)
	return &Link{server: s, open: open}
}

// Connect returns a connection over the link that closes when the test ends. It is set up
// as a worker's is: it reconnects soon and for ever, and buffers nothing meanwhile.
func (l *Link) Connect(t TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	opts = append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectJitter(0, 0),
	}, opts...)
	nc, err := nats.Connect("", append(opts, nats.InProcessServer(l))...)
	if err != nil {
		t.Fatalf("natstest: connect: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Watch has f decide on each message that the client sends from now on; nil lets all pass.
// f is never called twice at a time, nor after another Watch has returned; it must not block.
func (l *Link) Watch(f func(subject string) Fate) {
	l.watching.Lock()
	defer l.watching.Unlock()
	l.watch = f
}

// Hold keeps back whatever is sent in either direction, until Release.
func (l *Link) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		l.open = make(chan struct{})
	default:
	}
}

// Release lets everything go that was held, in order.
func (l *Link) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}

// Slow makes each answer of the server take this long.
func (l *Link) Slow(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = d
}

// Far delays every answer of the server by a round trip, however many are on their way, as if
// the broker were far away. It holds for connections that are made from then on.
func (l *Link) Far(roundTrip time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.far = roundTrip
}

// Shift has the client believe that the server's clock is ahead by d, whole seconds: as it is for a
// machine whose own is off.
func (l *Link) Shift(d time.Duration) { l.shift.Store(int64(d)) }

// Cut breaks the connection; what is on its way is lost.
func (l *Link) Cut() {
	l.mu.Lock()
	c := l.conn
	l.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// Down keeps the client from connecting again, until Up. It may be called by a watch.
func (l *Link) Down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
}

// Crash ends the client's way to the server as SIGKILL would end the client: nothing more leaves it.
func (l *Link) Crash() {
	l.Down()
	l.Cut()
}

// Up ends Down.
func (l *Link) Up() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// InProcessConn implements [nats.InProcessConnProvider].
func (l *Link) InProcessConn() (net.Conn, error) {
	l.mu.Lock()
	refuse := l.down
	select {
	case <-l.open:
	default:
		refuse = true // a stopped process does not connect
	}
	l.mu.Unlock()
	if refuse {
		return nil, net.ErrClosed
	}
	far, err := l.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	c := &linkConn{Conn: far, link: l, closed: make(chan struct{}), in: newFlow(), out: newFlow()}
	l.mu.Lock()
	l.conn = c
	away := l.far
	l.mu.Unlock()
	if away > 0 {
		go c.pumpInFrom(away)
	} else {
		go c.pumpIn()
	}
	go c.pumpOut()
	return c, nil
}

func (l *Link) fate(subject string) Fate {
	l.watching.Lock()
	defer l.watching.Unlock()
	if l.watch == nil || subject == "" {
		return Pass
	}
	return l.watch(subject)
}
