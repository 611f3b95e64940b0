package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	internal "github.com/millhand/millhand/internal/stream"
)

// A partition is one that this process owns: what it has read of it, how far it is, and who reads it.
type partition struct {
	group *group
	n     int
	key   string // the number, as the key that its order goes by
	lease *lease
	rev   uint64        // of its key in the registry. Of the group
	left  chan struct{} // closed when nothing more is done for it
	clean bool          // when it is: its cursor says all, and others may have it at once
	wake  chan struct{} // there is something to look at; capacity 1
	soon  chan struct{} // the cursor is to be written now; capacity 1

	// Under the mutex of the source.
	ready    []*placed
	progress progress
	settled  time.Time // when the newest message that was settled had been stored
	leaving  bool      // nothing further is handed out
	gone     bool      // what is in hand is not waited for either
	epoch    uint64
	usage    usage
	kept     uint64    // what the cursor says as it is written
	upTo     uint64    // what was read last, while all of it is ready or handed out
	hand     []*placed // handed out, in order, from the oldest that is not settled on
	reads    string    // the consumer that it is read through; empty: none
	last     uint64    // the last message that was read through one
	asked    time.Time // when it was last known what had not been read

	// Of its goroutine.
	at       uint64    // sequence of its cursor
	written  cursor    // the last one
	told     time.Time // when the log had last that it cannot be written; zero: it can
	states   states
	made     time.Time
	read     uint64 // the last message that was read
	count    uint64 // by the consumer's own count
	consumer string
	opened   bool
	more     chan struct{} // there may be room for more; capacity 1
}

func newPartition(g *group, n int, l *lease, rev uint64) *partition {
	return &partition{
		group: g, n: n, key: strconv.Itoa(n), lease: l, rev: rev, left: make(chan struct{}),
		wake: make(chan struct{}, 1), soon: make(chan struct{}, 1), more: make(chan struct{}, 1),
	}
}

// leave gives the partition up once what is in hand is settled.
func (p *partition) leave() {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	p.letGo()
}

// abandon gives it up at once, since nothing more will be settled.
func (p *partition) abandon() {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	p.gone = true
	p.letGo()
}

// letGo hands nothing further out.
func (p *partition) letGo() {
	p.leaving, p.upTo = true, 0
	for _, m := range p.ready {
		p.group.budget.free(&p.usage, m.amount())
	}
	p.ready = nil
	p.group.share()
	wake(p.wake)
}

func (p *partition) isLeaving() bool {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	return p.leaving
}

func (p *partition) currentEpoch() uint64 {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	return p.epoch
}

// handOut takes up to n messages that are ready.
func (p *partition) handOut(taken []*placed, n int) []*placed {
	if p.lease.Err() != nil || p.leaving {
		return taken
	}
	for ; n > 0 && len(p.ready) > 0 && !p.progress.full(); p.ready = p.ready[1:] {
		m := p.ready[0]
		p.ready[0] = nil
		if p.progress.deliver(m.Seq) {
			p.hand = append(p.hand, m)
			taken = append(taken, m)
			n--
		} else {
			p.group.budget.free(&p.usage, m.amount())
		}
	}
	return taken
}

// settle notes that a message is. If it is not, and will not be by this process, the partition is for somebody else.
func (p *partition) settle(m *placed, is bool) {
	if !is {
		p.abandon()
	}
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	p.group.budget.free(&p.usage, m.amount())
	if !is {
		return
	}
	p.progress.settle(m.Seq)
	for m.settled = true; len(p.hand) > 0 && p.hand[0].settled; p.hand = p.hand[1:] {
		p.hand[0] = nil
	}
	if m.Time.After(p.settled) {
		p.settled = m.Time
	}
	if p.leaving && p.progress.open == 0 {
		wake(p.wake)
	}
	if len(p.ready) > 0 {
		wake(p.group.came) // the cursor may have had no room for more ranges
	}
}

// run reads the partition and keeps its cursor until it is left or lost. An error ends the pipeline.
func (p *partition) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.lease, cancel)() //nolint:contextcheck // the lease is a second end of it
	if err := p.begin(ctx); err != nil {
		if p.lease.Err() != nil || ctx.Err() != nil {
			return nil // it is lost, which the group says
		}
		p.lease.cancel(ErrPartitionLost)
		return err
	}
	p.group.log.InfoContext(ctx, "a partition is this process's", slog.Int("part", p.n), slog.Uint64("from", p.written.Seq+1))
	p.group.mu.Lock()
	p.group.owned = append(p.group.owned, p)
	p.group.ordered.mine[p.n] = p
	p.group.share()
	p.group.mu.Unlock()
	reading, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	p.group.parts.Go(func() { ended <- p.readAll(reading) })
	err := p.keep(ctx, ended)
	stop()
	p.clean = err == nil && p.lease.Err() == nil && p.isLeaving()
	p.disown()
	p.lease.cancel(ErrPartitionLost) // for windows that would be handled
	return err
}

// disown has the source know nothing of it any more, but for what is in hand.
func (p *partition) disown() {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	p.letGo()
	p.group.budget.over(&p.usage)
	p.group.owned = slices.DeleteFunc(p.group.owned, func(own *partition) bool { return own == p })
	if p.group.ordered.mine[p.n] == p {
		delete(p.group.ordered.mine, p.n)
	}
	p.group.share()
}

// begin makes the cursor this owner's: from then on a former one cannot write it any more.
func (p *partition) begin(ctx context.Context) error {
	for pause := internal.RetryPause; ; pause = min(2*pause, internal.MaxRetryPause) {
		err := p.tryBegin(ctx)
		if err == nil || lasting(err) || p.lease.Err() != nil {
			return err
		}
		if !errors.Is(err, internal.ErrConflict) { // which is a former owner's last write
			p.group.log.WarnContext(ctx, "a cursor cannot be read yet", slog.Int("part", p.n), slog.Any("err", err))
		}
		if err := internal.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// lasting reports whether an error stays until somebody does something about it.
func lasting(err error) bool {
	return slices.ContainsFunc([]error{ErrInvalid, ErrStreamShorter, errCursor, errState}, func(known error) bool { return errors.Is(err, known) })
}

func (p *partition) tryBegin(ctx context.Context) error {
	g := p.group
	info, err := g.client.Info(ctx, g.cfg.Stream)
	if err != nil {
		return err
	}
	if err := g.cfg.fits(&info.Config); err != nil {
		return err
	}
	found, at, err := g.cursors.read(ctx, p.n)
	if err != nil {
		return fmt.Errorf("%s: %w", g.name(p.n), err)
	}
	if at == 0 {
		found.Seq = max(g.cfg.FromSeq, 1) - 1
		err = within("FromSeq", g.cfg.FromSeq, info)
	} else {
		err = found.isOf(info)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", g.name(p.n), err)
	}
	next := found
	next.Epoch++
	next.By = rand.Text()
	next.Made = info.Created
	if at, err = g.cursors.write(ctx, p.n, &next, at); err != nil {
		return err
	}
	if err := p.beginFolds(ctx, next.Folds); err != nil {
		return fmt.Errorf("%s: %w", g.name(p.n), err)
	}
	if err := p.sweep(ctx, at, &next); err != nil {
		g.log.WarnContext(ctx, "what is left over of the states of folds cannot be removed: the next owner of the partition tries again",
			slog.Int("part", p.n), slog.Any("err", err))
	}
	p.at, p.written, p.made, p.read = at, next, info.Created, next.Seq
	g.mu.Lock()
	defer g.mu.Unlock()
	p.epoch, p.progress, p.settled = next.Epoch, progress{seq: next.Seq, past: next.Done}, next.Time
	p.kept = next.Seq
	return nil
}

// sweep removes what former owners have left, where folds are kept.
func (p *partition) sweep(ctx context.Context, at uint64, of *cursor) error {
	if len(p.group.folds) == 0 {
		return nil
	}
	return p.group.cursors.sweep(ctx, p.n, of.Folds, at)
}

// keep writes the cursor until the partition is left.
func (p *partition) keep(ctx context.Context, ended <-chan error) error {
	tick := time.NewTicker(p.group.cfg.Commit)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", p.group.name(p.n), err)
			}
			ended = nil
		case <-tick.C:
			p.commit(ctx)
		case <-p.soon:
			p.commit(ctx)
		case <-p.wake:
			p.group.mu.Lock()
			out := p.leaving && (p.gone || p.progress.open == 0)
			p.group.mu.Unlock()
			if !out {
				continue
			}
			for pause := internal.RetryPause; !p.commit(ctx); pause = min(2*pause, internal.MaxRetryPause) {
				if internal.Sleep(ctx, pause) != nil {
					return nil // it is lost, or waited for no longer
				}
			}
			return nil
		}
	}
}

// commit writes the cursor if it has changed, and with it what folds know: of everything that the cursor says
// to be settled, and maybe of more. It returns false if it is to be tried again.
func (p *partition) commit(ctx context.Context) bool {
	p.group.mu.Lock()
	if len(p.ready) == 0 {
		p.progress.pass(p.upTo)
	}
	next := cursor{Epoch: p.epoch, By: p.written.By, Seq: p.progress.seq, Done: p.progress.done(), Time: p.settled, Made: p.made}
	p.group.mu.Unlock()
	changed, err := p.states.take(p.group.folds, p.n, next.Seq)
	if err == nil && !changed && next.Seq == p.written.Seq && slices.Equal(next.Done, p.written.Done) {
		return true
	}
	if p.lease.Err() != nil {
		return true
	}
	if err == nil {
		next.Folds, err = p.states.write(ctx, p.group.cursors, p.n, p.epoch)
	}
	at := p.at
	if err == nil {
		at, err = p.group.cursors.write(ctx, p.n, &next, p.at)
	}
	switch {
	case errors.Is(err, internal.ErrConflict):
		p.lease.cancel(ErrPartitionLost)
		return true
	case errors.Is(err, ErrStateTooLarge), errors.Is(err, errEncode):
		p.group.fail(fmt.Errorf("%s: %w", p.group.name(p.n), err))
		return true
	case err != nil:
		p.lost(ctx, err)
		return false
	}
	p.at, p.written, p.told = at, next, time.Time{}
	p.group.mu.Lock()
	p.kept = next.Seq
	p.group.mu.Unlock()
	p.states.stored(ctx, p.group.cursors, p.n)
	return true
}

// lost does what it can about a cursor that could not be written. Whoever owns a partition knows what a stream
// had that somebody has removed, and stores it again: nothing is handled twice for that.
func (p *partition) lost(ctx context.Context, err error) {
	switch {
	case errors.Is(err, errCursorGone):
		p.at = 0
		p.states.forget()
	case errors.Is(err, nats.ErrNoResponders):
		err = errors.Join(err, p.group.cursors.open(ctx))
	}
	if time.Since(p.told) >= tellEvery {
		p.told = time.Now()
		p.group.log.WarnContext(ctx, "a cursor cannot be written: trying again", slog.Int("part", p.n), slog.Any("err", err))
	}
}

// tellEvery is how often the log has what goes on failing.
const tellEvery = 10 * time.Second
