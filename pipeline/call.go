package pipeline

import (
	"context"
	"errors"
	"log/slog"
)

// call brings one batch to its end: by as many calls of Handle as OnFailure wants.
type call[V any] struct {
	*batches[V]
	batch *gathered[V]
	holds []string // keys that are held until the batch is settled

	tries  int    // calls of Handle so far
	traced string // the traceparent of the last one that was traced
}

func (c *call[V]) run() {
	r := c.batches.run
	entries := make([]*entry[V], len(c.batch.Values))
	for i := range c.batch.Values {
		entries[i] = &c.batch.Values[i]
	}
	returned := false
	defer func() {
		if !returned {
			for _, e := range entries {
				r.lose(e.of)
			}
		}
	}()
	if rest := lost(entries); len(rest) > 0 {
		c.tryAll(rest)
	}
	lost(entries)
	ended := make([]*envelope, 0, len(entries))
	for _, e := range entries {
		if r.stops(e.of, e.err) {
			continue // it is handed back with all the others
		}
		e.of.fail(e.err)
		if e.of.done() {
			ended = append(ended, e.of)
		}
	}
	r.settle(ended)
	r.releaseKeys(c.holds)
	returned = true
}

// lost ends the entries of messages that are no longer this process's, and returns the others.
func lost[V any](entries []*entry[V]) (rest []*entry[V]) {
	for _, e := range entries {
		if err := e.of.lost(); err != nil {
			e.err = err
			continue
		}
		rest = append(rest, e)
	}
	return rest
}

// lives returns those of the entries' messages, each once if they come one after the other.
func lives[V any](entries []*entry[V]) (all []context.Context) {
	for _, e := range entries {
		if n := len(all); n == 0 || all[n-1] != e.of.life {
			all = append(all, e.of.life)
		}
	}
	return all
}

// tryAll calls Handle until all entries have their ends.
func (c *call[V]) tryAll(entries []*entry[V]) {
	r := c.batches.run
	for attempt := 1; ; attempt++ {
		rest, err := c.try(entries)
		if err == nil {
			return
		}
		if attempt < r.failures.Attempts && triesAgain(err) && r.pause(r.failures, attempt) {
			entries = rest
			continue
		}
		c.giveUp(rest, err)
		return
	}
}

// giveUp makes entries fail, or halves of them be tried if that may help some.
func (c *call[V]) giveUp(entries []*entry[V], err error) {
	r := c.batches.run
	if !r.failures.Bisect || len(entries) == 1 || !bisects(err) || r.work.Err() != nil {
		if len(entries) > 1 && !errors.Is(err, ErrHandedBack) {
			r.log.Warn("a batch failed", slog.String("batcher", c.config.Name), slog.Int("messages", len(entries)), slog.Any("err", err))
		}
		for _, e := range entries {
			e.err = err
			e.of.told.CompareAndSwap(false, len(entries) > 1)
		}
		return
	}
	half := len(entries) / 2
	for _, part := range [][]*entry[V]{entries[:half], entries[half:]} {
		if rest, err := c.try(part); err != nil {
			c.giveUp(rest, err)
		}
	}
}

// try calls Handle once. It returns its error and whom that is for: who was not failed by index.
func (c *call[V]) try(entries []*entry[V]) (rest []*entry[V], err error) {
	r := c.batches.run
	if r.work.Err() != nil {
		return entries, ErrHandedBack
	}
	b := &Batch[V]{Items: make([]V, len(entries)), Key: c.batch.Key.key, Trigger: Trigger(c.batch.Trigger), entries: entries, name: c.config.Name}
	for i, e := range entries {
		b.Items[i] = e.value
	}
	s := r.spanOf(Event{What: "batch/" + c.config.Name, Messages: len(entries), Trigger: b.Trigger})
	ctx, done := r.during(lives(entries)...)
	err = r.verdict(contained(func() error { return c.invoke(ctx, b) }))
	done()
	failed := 0
	for i, e := range entries {
		end, own := b.ends[i]
		if own {
			e.err = r.verdict(end)
		} else if err != nil {
			rest = append(rest, e)
		}
		if own && end != nil || !own && err != nil {
			failed++
			c.hold(e.of)
		}
	}
	if len(rest) == 0 {
		err = nil
	}
	s.end(failed, err)
	return rest, err
}

// invoke calls Handle, through all middleware.
func (c *call[V]) invoke(ctx context.Context, b *Batch[V]) error {
	c.tries++
	r := c.batches.run
	if r.around == nil {
		return c.config.Handle(ctx, b)
	}
	of := &Call{
		Batcher: c.config.Name, Attempt: c.tries, Trigger: b.Trigger, Values: len(b.Items), last: &c.traced,
		messages: make([]*envelope, len(b.entries)), failed: b.failures,
	}
	for i, e := range b.entries {
		of.messages[i] = e.of
	}
	return r.through(ctx, of, func(ctx context.Context) error { return c.config.Handle(ctx, b) })
}

// hold keeps the messages of a failed one's key from Process until the batch is settled.
func (c *call[V]) hold(e *envelope) {
	if r := c.batches.run; r.ordered && e.key != "" && e.failures().HoldKey {
		r.hold(e.key)
		c.holds = append(c.holds, e.key)
	}
}
