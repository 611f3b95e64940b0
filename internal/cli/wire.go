package cli

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// traced returns a connection to a NATS server that writes a line for each request that was answered,
// and for each message that asks for no answer: subject, sizes, and how long it took. What is in them
// it does not write. Over TLS it can see nothing, and says so.
func traced(conn net.Conn, out io.Writer) net.Conn {
	t := &wireTrace{out: out, asked: make(map[string]request)}
	return &tracedConn{Conn: conn, sent: wireReader{line: t.sent}, received: wireReader{line: t.received}, trace: t}
}

// A request waits for its answer.
type request struct {
	subject string
	bytes   int
	at      time.Time
}

// wireTrace puts both directions together.
type wireTrace struct {
	out io.Writer

	mu    sync.Mutex
	asked map[string]request // by where the answer goes
	blind bool
}

// maxAsked is how many requests are remembered; of more, those that come are not shown.
const maxAsked = 10_000

// sent is told each line of ours, and returns how many bytes follow it.
func (t *wireTrace) sent(fields [][]byte) (follow int, ok bool) {
	switch string(bytes.ToUpper(fields[0])) {
	case "PUB", "HPUB": // subject, where the answer goes if one is wanted, sizes
		sizes := 1
		if len(fields[0]) == len("HPUB") {
			sizes = 2
		}
		n, err := strconv.Atoi(string(fields[len(fields)-1]))
		if err != nil || len(fields) < 2+sizes {
			return 0, false
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		subject := string(fields[1])
		switch {
		case len(fields) == 2+sizes:
			t.write("%9s  %s  %d B", "", subject, n)
		case len(t.asked) < maxAsked:
			t.asked[string(fields[2])] = request{subject: subject, bytes: n, at: time.Now()}
		}
		return n + len("\r\n"), true
	case "CONNECT", "SUB", "UNSUB", "PING", "PONG":
		return 0, true
	}
	return 0, false
}

// received is told each line of the server's, and returns how many bytes follow it.
func (t *wireTrace) received(fields [][]byte) (follow int, ok bool) {
	switch string(bytes.ToUpper(fields[0])) {
	case "MSG", "HMSG":
		n, err := strconv.Atoi(string(fields[len(fields)-1]))
		if err != nil || len(fields) < 4 {
			return 0, false
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if r, ok := t.asked[string(fields[1])]; ok {
			delete(t.asked, string(fields[1]))
			t.write("%9s  %s  %d B, answered with %d B", time.Since(r.at).Round(10*time.Microsecond), r.subject, r.bytes, n)
		}
		return n + len("\r\n"), true
	case "INFO", "PING", "PONG", "+OK", "-ERR":
		return 0, true
	}
	return 0, false
}

func (t *wireTrace) write(format string, args ...any) {
	_, _ = fmt.Fprintln(t.out, OneLine("debug: "+fmt.Sprintf(format, args...))) // for show
}

// lost says once that nothing more can be seen.
func (t *wireTrace) lost() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.blind {
		t.blind = true
		t.write("requests cannot be shown: the connection is encrypted")
	}
}

// A tracedConn reads along.
type tracedConn struct {
	net.Conn
	sent, received wireReader // each by one goroutine at a time, as with any connection
	trace          *wireTrace
}

// Write implements [net.Conn].
func (c *tracedConn) Write(b []byte) (int, error) {
	if !c.sent.read(b) {
		c.trace.lost()
	}
	return c.Conn.Write(b)
}

// Read implements [net.Conn].
func (c *tracedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.received.read(b[:n]) {
		c.trace.lost()
	}
	return n, err
}

// A wireReader reads one direction of NATS' protocol: lines, some of which are followed by bytes.
type wireReader struct {
	line func(fields [][]byte) (follow int, ok bool)

	part  []byte // of a line that has not ended
	skip  int    // bytes that still follow the last line
	blind bool   // it is not that protocol
}

// maxLine is far more than the longest line, which is the server's first one.
const maxLine = 1 << 20

// read reads on, and reports whether it understands what it reads.
func (r *wireReader) read(b []byte) bool {
	for len(b) > 0 && !r.blind {
		if r.skip > 0 {
			n := min(r.skip, len(b))
			r.skip, b = r.skip-n, b[n:]
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			r.part = append(r.part, b...)
			r.blind = len(r.part) > maxLine
			break
		}
		r.part = append(r.part, b[:end]...)
		b = b[end+1:]
		if fields := bytes.Fields(r.part); len(fields) > 0 {
			follow, ok := r.line(fields)
			r.skip, r.blind = follow, !ok
		}
		r.part = r.part[:0]
	}
	return !r.blind
}
