package stream

import (
	"sync"
	"time"
)

// A waiter waits for the answer to one write at a time, and is used again.
type waiter struct {
	answer chan answer // capacity 1
	timer  *time.Timer
}

type answer struct {
	seq uint64
	err error
}

// Answered implements [Receiver].
func (w *waiter) Answered(seq uint64, err error) { w.answer <- answer{seq: seq, err: err} }

// waiters are those of one client that nobody uses. A pool of the process would carry
// timers from one test's time into another's.
type waiters struct {
	mu   sync.Mutex
	idle []*waiter
}

// maxIdleWaiters bounds what is kept after a burst of callers.
const maxIdleWaiters = 64

func (p *waiters) get() *waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := len(p.idle) - 1; last >= 0 {
		w := p.idle[last]
		p.idle = p.idle[:last]
		return w
	}
	w := &waiter{answer: make(chan answer, 1), timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}

// put takes back a waiter whose answer was received or forgotten.
func (p *waiters) put(w *waiter) {
	w.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) < maxIdleWaiters {
		p.idle = append(p.idle, w)
	}
}
