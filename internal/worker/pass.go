package worker

import (
	"context"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// A Pass hands a job on to whoever handles it, and returns as a handler does when that has ended it.
type Pass func(ctx context.Context, h *queue.Delivery, maxAttempts int, p *Passed) ([]byte, error)

// A Passed is what a [Pass] tells of its job. Jobs of a queue are handed on in the order in which they came,
// though each has a goroutine of its own.
type Passed struct {
	attempt *attempt
	before  <-chan struct{} // closed when the job that came before was handed on, or has ended; nil: there was none
	gone    chan struct{}   // the same of this one
	once    sync.Once

	mu    sync.Mutex
	timer *time.Timer // of the job's time; nil: it has not begun
	until time.Time   // when that is over
	over  bool        // the run is
}

// Await waits for the job's turn, or for the end of ctx.
func (p *Passed) Await(ctx context.Context) {
	if p.before == nil {
		return
	}
	select {
	case <-p.before:
	case <-ctx.Done():
	}
}

// Gone says that the job was handed on: it is the next one's turn.
func (p *Passed) Gone() { p.once.Do(func() { close(p.gone) }) }

// LetGo has the job's lease end, and nothing be written of the run: nobody knows how far it came.
func (p *Passed) LetGo() { p.attempt.held.LetGo() }

// Begin says that the time of the run begins.
func (p *Passed) Begin() {
	d := p.attempt.settings.Timeout
	if d <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over && p.timer == nil {
		p.until = time.Now().Add(d)
		p.timer = time.AfterFunc(d, func() { p.attempt.end(job.ErrTimeout) })
	}
}

func (p *Passed) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

// timeoutAt is when the time of the run is over, zero if that is not known.
func (p *Passed) timeoutAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until
}

// passOn has the job of a passed on. The stage calls it, for one job after the other.
func (r *runner) passOn(a *attempt, pass Pass) {
	p := &Passed{attempt: a, before: r.lastPassed, gone: make(chan struct{})}
	r.lastPassed, a.passed = p.gone, p
	a.handler = func(ctx context.Context, h *queue.Delivery, maxAttempts int) ([]byte, error) {
		defer p.end()
		return pass(ctx, h, maxAttempts, p)
	}
}

// Resize changes how many jobs are in hand at once, of a worker that passes its jobs on.
func (w *Worker) Resize(jobs int) { w.slots.Resize(jobs) }

// Shut reports whether no job can come although there is room for some, and when that changes, of a worker
// that passes its jobs on.
func (w *Worker) Shut() (shut bool, changed <-chan struct{}) { return w.slots.Shut() }
