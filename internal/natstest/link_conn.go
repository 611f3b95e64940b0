package natstest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// linkConn is the client's end. The embedded one is the near end of the server's pipe.
type linkConn struct {
	net.Conn
	link    *Link
	in, out *flow
	parse   parser
	greeted atomic.Bool // the handshake is over: the client locks itself up until then
	once    sync.Once
	closed  chan struct{}
}

func (c *linkConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		_ = c.Conn.Close()
	})
	return nil
}

// gate opens once the link is not held. The handshake has none.
func (c *linkConn) gate() <-chan struct{} {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if !c.greeted.Load() {
		return nil
	}
	return c.link.open
}

// outGate is gate for what the client sends. A handshake ends before its server stops: a
// goroutine that waited for the client's lock meanwhile would stop the clock.
func (c *linkConn) outGate() <-chan struct{} {
	if stopped := c.link.server.stopping.Load(); stopped != nil && c.greeted.Load() {
		return *stopped
	}
	return c.gate()
}

// pumpIn plays the receiving kernel: the server can send though nobody reads.
func (c *linkConn) pumpIn() {
	defer c.in.end()
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Conn.Read(buf)
		shiftTimes(buf[:n], time.Duration(c.link.shift.Load()))
		c.link.mu.Lock()
		slow := c.link.slow
		c.link.mu.Unlock()
		if slow > 0 {
			timer := time.NewTimer(slow)
			select {
			case <-timer.C:
			case <-c.closed:
				timer.Stop()
			}
		}
		c.in.put(buf[:n])
		if err != nil {
			return
		}
	}
}

// pumpInFrom is pumpIn for a server that is a round trip of this length away.
func (c *linkConn) pumpInFrom(away time.Duration) {
	type chunk struct {
		bytes []byte
		due   time.Time
	}
	const onTheWay = 1 << 16
	chunks := make(chan chunk, onTheWay)
	go func() {
		defer close(chunks)
		buf := make([]byte, 32<<10)
		for {
			n, err := c.Conn.Read(buf)
			shiftTimes(buf[:n], time.Duration(c.link.shift.Load()))
			chunks <- chunk{bytes.Clone(buf[:n]), time.Now().Add(away)}
			if err != nil {
				return
			}
		}
	}()
	defer c.in.end()
	for next := range chunks {
		timer := time.NewTimer(time.Until(next.due))
		select {
		case <-timer.C:
		case <-c.closed:
			timer.Stop()
		}
		c.in.put(next.bytes)
	}
}

// pumpOut plays the sending kernel: the client can write though nothing gets through.
func (c *linkConn) pumpOut() {
	for {
		b, ok := c.out.take(c.closed, c.outGate, 1<<20)
		if !ok {
			return
		}
		if _, err := c.Conn.Write(b); err != nil {
			return
		}
	}
}

func (c *linkConn) Read(p []byte) (int, error) {
	b, ok := c.in.take(c.closed, c.gate, len(p))
	if !ok {
		return 0, io.EOF
	}
	return copy(p, b), nil
}

func (c *linkConn) Write(p []byte) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	for _, op := range c.parse.feed(p) {
		if op.name != "CONNECT" && op.name != "PING" {
			c.greeted.Store(true)
		}
		switch c.link.fate(op.subject) {
		case Pass:
			c.out.put(op.bytes)
		case CutBefore:
			c.cut(nil)
			return len(p), nil
		case CutAfter:
			c.cut(op.bytes)
			return len(p), nil
		case Lost:
		}
	}
	return len(p), nil
}

// cut closes the connection once what was sent, and last, has reached the server. The
// client hears nothing any more.
func (c *linkConn) cut(last []byte) {
	c.in.seal(true)
	c.out.put(last)
	c.out.seal(false)
	go func() {
		c.out.drained(c.closed)
		<-time.NewTimer(time.Microsecond).C // of virtual time, so all that the server has to do is done
		_ = c.Close()
	}()
}

// A pipe's deadline would hold for the pump, not for the client; a held link has none.
func (c *linkConn) SetDeadline(time.Time) error { return nil }

func (c *linkConn) SetReadDeadline(time.Time) error { return nil }

func (c *linkConn) SetWriteDeadline(time.Time) error { return nil }

// shiftTimes changes what a server says that its time is, in its answers about streams. They keep
// their length.
func shiftTimes(b []byte, d time.Duration) {
	const key = `"ts":"`
	for d != 0 {
		i := bytes.Index(b, []byte(key))
		if i < 0 {
			return
		}
		b = b[i+len(key):]
		end := max(bytes.IndexByte(b, '"'), 0)
		at, err := time.Parse(time.RFC3339Nano, string(b[:end]))
		if err != nil {
			continue
		}
		if text := at.Add(d).UTC().Format(time.RFC3339Nano); len(text) == end {
			copy(b, text)
		}
	}
}
