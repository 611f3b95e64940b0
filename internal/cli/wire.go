package cli

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// traced returns a connection to a NATS server that writes a line for each request that was answered,
// and for each message that asks for no answer: subject, sizes, and how long it took. What is in them
// it does not write. Over TLS it can see nothing, and says so.
func traced(conn net.Conn, out io.Writer) net.Conn {
	t := &wireTrace{out: out, asked: make(map[string]request)}
	return &wiretap{Conn: conn, sent: wireReader{line: t.sent}, received: wireReader{line: t.received}, lost: t.lost}
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
	p, ok := sentLine(fields)
	if !ok || p.subject == "" {
		return p.follow, ok
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !p.wantsAnswer:
		t.write("%9s  %s  %d B", "", p.subject, p.size)
	case len(t.asked) < maxAsked:
		t.asked[p.answerTo] = request{subject: p.subject, bytes: p.size, at: time.Now()}
	}
	return p.follow, true
}

// received is told each line of the server's, and returns how many bytes follow it.
func (t *wireTrace) received(fields [][]byte) (follow int, ok bool) {
	to, follow, ok := receivedLine(fields)
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, asked := t.asked[to]; asked && to != "" {
		delete(t.asked, to)
		t.write("%9s  %s  %d B, answered with %d B", time.Since(r.at).Round(10*time.Microsecond), r.subject, r.bytes, follow-len("\r\n"))
	}
	return follow, ok
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
