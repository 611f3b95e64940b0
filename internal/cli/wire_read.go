package cli

import (
	"bytes"
	"net"
	"strconv"
)

// published is what a line of ours says of the message behind it, and zero but for follow if there is none.
type published struct {
	subject      string
	answerTo     string
	wantsAnswer  bool
	header, size int // bytes; the header's are among them
	follow       int // how many bytes follow the line
}

// sentLine reads a line of ours, and reports whether it is one of the protocol.
func sentLine(fields [][]byte) (p published, ok bool) {
	switch string(bytes.ToUpper(fields[0])) {
	case "PUB", "HPUB": // subject, where the answer goes if one is wanted, sizes
		sizes := 1
		if len(fields[0]) == len("HPUB") {
			sizes = 2
		}
		n, err := strconv.Atoi(string(fields[len(fields)-1]))
		if err != nil || n < 0 || len(fields) < 2+sizes {
			return p, false
		}
		p = published{subject: string(fields[1]), size: n, follow: n + len("\r\n")}
		if p.wantsAnswer = len(fields) > 2+sizes; p.wantsAnswer {
			p.answerTo = string(fields[2])
		}
		if sizes == 2 {
			p.header, err = strconv.Atoi(string(fields[len(fields)-2]))
		}
		return p, err == nil && p.header >= 0 && p.header <= n
	case "CONNECT", "SUB", "UNSUB", "PING", "PONG":
		return p, true
	}
	return p, false
}

// receivedLine reads a line of the server's: where a message goes to, if one is behind it, how many bytes follow,
// and whether it is one of the protocol.
func receivedLine(fields [][]byte) (to string, follow int, ok bool) {
	switch string(bytes.ToUpper(fields[0])) {
	case "MSG", "HMSG":
		n, err := strconv.Atoi(string(fields[len(fields)-1]))
		if err != nil || n < 0 || len(fields) < 4 {
			return "", 0, false
		}
		return string(fields[1]), n + len("\r\n"), true
	case "INFO", "PING", "PONG", "+OK", "-ERR":
		return "", 0, true
	}
	return "", 0, false
}

// A wiretap is a connection that is read along.
type wiretap struct {
	net.Conn
	sent, received wireReader // each by one goroutine at a time, as with any connection
	lost           func()     // is called when one of them understands no more
}

// Write implements [net.Conn].
func (c *wiretap) Write(b []byte) (int, error) {
	if !c.sent.read(b) {
		c.lost()
	}
	return c.Conn.Write(b)
}

// Read implements [net.Conn].
func (c *wiretap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.received.read(b[:n]) {
		c.lost()
	}
	return n, err
}

// A wireReader reads one direction of NATS' protocol: lines, some of which are followed by bytes.
type wireReader struct {
	line func(fields [][]byte) (follow int, ok bool)
	body func([]byte) // is told what followed a line, the first bytes alone of what is longer; nil: nobody is
	keep int          // how many bytes that are

	part  []byte // of a line that has not ended
	held  []byte // of what follows the last line
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
			r.held = append(r.held, b[:min(n, r.keep-len(r.held))]...)
			r.skip, b = r.skip-n, b[n:]
			if r.skip == 0 && r.body != nil {
				r.body(r.held)
				r.held = r.held[:0]
			}
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
