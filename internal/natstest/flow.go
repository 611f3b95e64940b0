package natstest

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
)

// A flow is one direction of a connection: bytes without a limit, for one taker.
type flow struct {
	mu     sync.Mutex
	buf    []byte
	taken  bool // the taker has not come back for more
	ended  bool
	sealed bool
	more   chan struct{} // a hint that one of these changed
	empty  chan struct{} // a hint that the taker came back and found nothing
}

func newFlow() *flow {
	return &flow{more: make(chan struct{}, 1), empty: make(chan struct{}, 1)}
}

func hint(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (f *flow) put(b []byte) {
	f.mu.Lock()
	if !f.sealed {
		f.buf = append(f.buf, b...)
	}
	f.mu.Unlock()
	hint(f.more)
}

// end says that nothing more comes.
func (f *flow) end() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	hint(f.more)
}

// seal ignores what comes from now on and, if drop is set, what was not taken.
func (f *flow) seal(drop bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sealed = true
	if drop {
		f.buf = nil
	}
}

// take waits for at most n bytes, and for the gate to be open, if there is one; false is
// the end.
func (f *flow) take(closed <-chan struct{}, gate func() <-chan struct{}, n int) ([]byte, bool) {
	for {
		if open := gate(); open != nil {
			select {
			case <-open:
			case <-closed:
				return nil, false
			}
		}
		f.mu.Lock()
		f.taken = false
		if k := min(n, len(f.buf)); k > 0 {
			b := bytes.Clone(f.buf[:k])
			f.buf, f.taken = f.buf[k:], true
			f.mu.Unlock()
			return b, true
		}
		ended := f.ended
		f.mu.Unlock()
		hint(f.empty)
		if ended {
			return nil, false
		}
		select {
		case <-f.more:
		case <-closed:
			return nil, false
		}
	}
}

// drained waits until all is taken and done with.
func (f *flow) drained(closed <-chan struct{}) {
	for {
		f.mu.Lock()
		done := len(f.buf) == 0 && !f.taken
		f.mu.Unlock()
		if done {
			return
		}
		select {
		case <-f.empty:
		case <-closed:
			return
		}
	}
}

// A parser cuts what a client sends into protocol operations.
type parser struct{ buf []byte }

type operation struct {
	bytes   []byte
	name    string
	subject string // of a PUB or HPUB
}

func (p *parser) feed(b []byte) (ops []operation) {
	p.buf = append(p.buf, b...)
	for {
		line, _, ok := bytes.Cut(p.buf, []byte("\r\n"))
		if !ok {
			return ops
		}
		size := len(line) + 2
		op := operation{}
		f := strings.Fields(string(line))
		if len(f) > 0 {
			op.name = f[0]
		}
		if op.name == "PUB" || op.name == "HPUB" {
			n, err := strconv.Atoi(f[len(f)-1])
			if err != nil {
				panic("natstest: " + string(line))
			}
			op.subject = f[1]
			size += n + 2
		}
		if len(p.buf) < size {
			return ops
		}
		op.bytes = bytes.Clone(p.buf[:size])
		ops = append(ops, op)
		p.buf = p.buf[size:]
	}
}
