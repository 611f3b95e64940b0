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
	"github.com/nats-io/nats.go/jetstream"

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
	behind   uint64    // messages that had not been read when that was last known
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
	more     chan struct{} // there is room for more; capacity 1
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
	p.leaving, p.ready = true, nil
	p.group.mu.Unlock()
	wake(p.wake)
}

// abandon gives it up at once, since nothing more will be settled.
func (p *partition) abandon() {
	p.group.mu.Lock()
	p.leaving, p.gone, p.ready = true, true, nil
	p.group.mu.Unlock()
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
		if m := p.ready[0]; p.progress.deliver(m.Seq) {
			p.hand = append(p.hand, m)
			taken = append(taken, m)
			n--
		}
	}
	if len(p.ready) <= prefetch/2 {
		wake(p.more)
	}
	return taken
}

// settle notes that a message is.
func (p *partition) settle(m *placed) {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
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

// handBack notes that a message will not be settled by this process: so the partition is for somebody else.
func (p *partition) handBack() { p.abandon() }

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
	p.group.mu.Unlock()
	reading, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	p.group.parts.Go(func() { ended <- p.readAll(reading) })
	err := p.keep(ctx, ended)
	stop()
	p.group.mu.Lock()
	p.group.owned = slices.DeleteFunc(p.group.owned, func(own *partition) bool { return own == p })
	p.group.mu.Unlock()
	p.clean = err == nil && p.lease.Err() == nil && p.isLeaving()
	p.lease.cancel(ErrPartitionLost) // for windows that would be handled
	return err
}

// begin makes the cursor this owner's: from then on a former one cannot write it any more.
func (p *partition) begin(ctx context.Context) error {
	for pause := internal.RetryPause; ; pause = min(2*pause, internal.MaxRetryPause) {
		err := p.tryBegin(ctx)
		if err == nil || errors.Is(err, ErrStreamShorter) || errors.Is(err, ErrInvalid) || p.lease.Err() != nil {
			return err
		}
		if errors.Is(err, errState) {
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

func (p *partition) tryBegin(ctx context.Context) error {
	g := p.group
	info, err := g.client.Info(ctx, g.cfg.Stream)
	if err != nil {
		return err
	}
	if info.Config.Retention == jetstream.WorkQueuePolicy {
		return fmt.Errorf("%w: stream %s is a work queue, which a message leaves when somebody has handled it: use NewSource", ErrInvalid, g.cfg.Stream)
	}
	found, at, err := g.cursors.read(ctx, p.n)
	if err != nil {
		return err
	}
	if at == 0 {
		found.Seq = max(g.cfg.FromSeq, 1) - 1
	}
	if at > 0 && (info.State.LastSeq < found.Seq || !found.Made.IsZero() && !found.Made.Equal(info.Created)) {
		return fmt.Errorf("%w: %s is at %d, and stream %s ends at %d and was made at %v (it was %v)", ErrStreamShorter,
			g.name(p.n), found.Seq, g.cfg.Stream, info.State.LastSeq, info.Created, found.Made)
	}
	next := found
	next.Epoch++
	next.By = rand.Text()
	next.Made = info.Created
	if at, err = g.cursors.write(ctx, p.n, &next, at); err != nil {
		return err
	}
	if err := p.beginFolds(ctx, next.Folds); err != nil {
		return err
	}
	p.at, p.written, p.made, p.read = at, next, info.Created, next.Seq
	g.mu.Lock()
	defer g.mu.Unlock()
	p.epoch, p.progress, p.settled = next.Epoch, progress{seq: next.Seq, past: next.Done}, next.Time
	return nil
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

// readAll reads what is stored, from behind the cursor on.
func (p *partition) readAll(ctx context.Context) error {
	r := &reader{
		client: p.group.client, log: p.group.log.With(slog.Int("part", p.n)), wake: p.more,
		open: p.open, final: func(err error) bool { return internal.IsRefusal(err) && !errors.Is(err, jetstream.ErrConsumerNotFound) },
		room: p.room, came: p.take,
	}
	defer p.close()
	return r.run(ctx)
}

// room returns how many messages there is room for.
func (p *partition) room() int {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	if p.leaving || p.full() {
		return 0
	}
	return prefetch - len(p.ready)
}

// full reports whether there is no room for more.
func (p *partition) full() bool { return len(p.ready) > prefetch/2 }

// open makes a consumer that begins behind what was read.
func (p *partition) open(ctx context.Context) (consumer, error) {
	p.close()
	cfg := p.group.reads(p.n, p.read+1)
	if p.read == 0 && !p.group.cfg.Since.IsZero() {
		since := p.group.cfg.Since.UTC()
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &since
	}
	ctx, cancel := context.WithTimeout(ctx, internal.RequestTimeout)
	defer cancel()
	made, err := p.group.client.CreateConsumer(ctx, p.group.cfg.Stream, cfg)
	if err != nil {
		return consumer{}, err
	}
	p.consumer, p.count = made.CachedInfo().Name, 0
	p.group.mu.Lock()
	p.reads = p.consumer
	p.group.mu.Unlock()
	return consumer{stream: p.group.cfg.Stream, name: p.consumer, lifetime: orderedLifetime}, nil
}

// reads is the consumer of a partition from a sequence on.
func (o *ordered) reads(n int, from uint64) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		FilterSubject: o.filter(n), DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: time.Minute, MemoryStorage: true, Replicas: 1,
	}
}

// close removes the consumer. The broker does so itself if it does not hear of it.
func (p *partition) close() {
	if p.consumer == "" {
		return
	}
	name := p.consumer
	p.consumer = ""
	p.group.mu.Lock()
	p.reads = ""
	p.group.mu.Unlock()
	if p.group.nc.IsConnected() {
		_ = p.group.nc.Publish(p.group.client.API("CONSUMER.DELETE."+p.group.cfg.Stream+"."+name), nil)
	}
}

// orderedLifetime is how long a request waits: nothing is stranded if its inbox is dropped, as there are no acks.
const orderedLifetime = 10 * time.Second

var errGap = errors.New("messages were lost on their way")

// take makes messages ready.
func (p *partition) take(ms []*nats.Msg, _ time.Time) error {
	all := make([]*placed, 0, len(ms))
	var gap error
	var behind uint64
	for _, m := range ms {
		at, err := internal.ReadMetadata(m)
		if err != nil || at.ConsumerSeq != p.count+1 {
			gap = errGap
			break
		}
		p.count, p.read, behind = at.ConsumerSeq, at.Seq, at.Pending
		all = append(all, &placed{of: p, Message: messageOf(m, &at)})
	}
	p.group.mu.Lock()
	if !p.leaving {
		p.ready = append(p.ready, all...)
		p.behind, p.last, p.asked = behind, p.read, time.Now()
	}
	p.group.mu.Unlock()
	wake(p.group.came)
	return gap
}
