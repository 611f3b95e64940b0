package supervisor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// instance is one run of a child: a goroutine, and what it leaves behind.
type instance struct {
	child    *Child
	cancel   context.CancelCauseFunc
	onEnding func(*instance)
	ready    chan struct{} // closed when the child is ready
	done     chan struct{} // closed by the goroutine as its last act
	err      error         // how it ended; to be read after done is closed

	fate atomic.Uint32 // holds a fate
}

// A fate is what becomes of a goroutine. Whoever is first decides it, once: the goroutine, or the
// supervisor that stops it.
//
//	alive ──► ended        the goroutine was first
//	      ├─► released     the stop did not wait
//	      └─► abandoned    the stop waited in vain
type fate = uint32

const (
	alive     fate = iota
	ended          // the goroutine is about to end, and will close done
	released       // a stop did not wait for it, and it may still run
	abandoned      // it ignored its context for longer than its StopTimeout
)

// fateAfterStop is what becomes of a child that has not ended when its stop is over.
func (c *Child) fateAfterStop() fate {
	if c.NoWait {
		return released
	}
	return abandoned
}

// meet reports whether the instance was alive and has now met f.
func (i *instance) meet(f fate) bool { return i.fate.CompareAndSwap(alive, f) }

// instanceKey is the key of a child's context under which its instance is found.
type instanceKey struct{}

// Ending tells the supervisor of the child whose context ctx is that the child is about to return,
// which it must then do at once. It is for a child that takes others along by what it does last,
// such as a producer that tells its consumers: the supervisor hears of its end before it can hear
// of theirs, so that one restart of the group serves all. A child that does not call it is heard of
// when it has returned. Without a supervisor Ending does nothing.
func Ending(ctx context.Context) {
	if i, ok := ctx.Value(instanceKey{}).(*instance); ok {
		i.announce()
	}
}

// announce has the supervisor hear of the end of i, once, if it still wants to know.
func (i *instance) announce() {
	if i.meet(ended) {
		i.onEnding(i)
	}
}

// spawn runs c in a goroutine of its own. From there onEnding is called when c is ending, before
// done is closed; if the supervisor has left c by then, onReturn is called instead, as the last
// act. The caller owns the instance: it waits for done, or leaves it and says so by its fate.
func spawn(ctx context.Context, supervisor string, c *Child, onEnding, onReturn func(*instance)) *instance {
	ctx, cancel := context.WithCancelCause(ctx)
	i := &instance{child: c, cancel: cancel, onEnding: onEnding, ready: make(chan struct{}), done: make(chan struct{})}
	ctx = context.WithValue(ctx, instanceKey{}, i)
	ready := sync.OnceFunc(func() { close(i.ready) })
	if c.Run != nil {
		ready()
	}
	go func() {
		defer close(i.done)
		i.err = ErrExited
		defer func() {
			v := recover()
			i.announce()
			if v != nil {
				i.err = newPanicError(v)
			}
			cancel(nil)
			if i.fate.Load() != ended {
				onReturn(i)
			}
		}()
		i.err = c.run(label(ctx, supervisor, c.Name), ready)
	}()
	return i
}

// started reports whether the instance became ready, for one that has ended too.
func (i *instance) started() bool {
	select {
	case <-i.ready:
		return true
	default:
		return false
	}
}

// stop cancels the instance and waits for its end, up to timeout. It reports whether the goroutine
// has ended.
func (i *instance) stop(timeout time.Duration) bool {
	i.cancel(ErrShutdown)
	return within(timeout, i.done)
}

// within waits for done, up to timeout, and reports whether that came first.
func within(timeout time.Duration, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
	}
	if timeout <= 0 {
		return false
	}
	var expired <-chan time.Time
	if timeout != Forever {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-done:
		return true
	case <-expired:
		return false
	}
}

// remaining is what is left of a timeout that began at begin.
func remaining(timeout time.Duration, begin time.Time) time.Duration {
	if timeout == Forever {
		return Forever
	}
	return timeout - time.Since(begin)
}

// ends are the instances that ended and were not looked at yet, in the order of their ends. It
// takes any number, so that the end of a child never waits for its supervisor; there are no more of
// them than instances.
type ends struct {
	wake chan struct{} // capacity 1: there is something to take

	mu   sync.Mutex
	list []*instance
}

func (e *ends) put(i *instance) {
	e.mu.Lock()
	e.list = append(e.list, i)
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *ends) take() []*instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list
	e.list = nil
	return list
}
