package pipeline

import (
	"context"
	"sync"
)

// A callContext is the context of a call for messages that may be lost while it runs: it ends with the run, or
// when the lives of all of them have. Most functions never wait for that, so nothing waits for the lives
// before somebody asks for Done.
//
//nolint:containedctx // it is one
type callContext struct {
	context.Context // of the run
	lives           []context.Context

	mu     sync.Mutex
	ending context.Context // what Done is of; nil: nobody has asked
	cancel context.CancelCauseFunc
	stops  []func() bool
	over   bool // the call has returned
}

func (c *callContext) Done() <-chan struct{} { return c.wait().Done() }

func (c *callContext) Err() error {
	c.mu.Lock()
	over, ending := c.over, c.ending
	c.mu.Unlock()
	if ending == nil && !over && c.lost() == nil {
		return c.Context.Err()
	}
	return c.wait().Err()
}

// Value has the cause of the end, too: it is what context.Cause asks for.
func (c *callContext) Value(key any) any {
	c.mu.Lock()
	over, ending := c.over, c.ending
	c.mu.Unlock()
	if ending == nil && !over && c.lost() == nil {
		return c.Context.Value(key)
	}
	return c.wait().Value(key)
}

// lost returns why the messages are no longer this process's; nil: one of them is.
func (c *callContext) lost() error {
	for _, life := range c.lives {
		if life.Err() == nil {
			return nil
		}
	}
	return context.Cause(c.lives[len(c.lives)-1])
}

// wait returns a context that ends when c does.
func (c *callContext) wait() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending == nil {
		c.ending, c.cancel = context.WithCancelCause(c.Context)
		if !c.over {
			c.stops = make([]func() bool, len(c.lives))
			for i, life := range c.lives {
				c.stops[i] = context.AfterFunc(life, c.check)
			}
		}
	}
	if c.over {
		c.cancel(nil)
	} else if cause := c.lost(); cause != nil {
		c.cancel(cause)
	}
	return c.ending
}

// check ends c if all messages are lost.
func (c *callContext) check() { c.wait() }

// end says that the call has returned.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, stop := range c.stops {
		stop()
	}
	if c.cancel != nil {
		c.cancel(nil)
	}
}
