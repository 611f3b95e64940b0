package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/hash"
	internal "github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/pipeline"
)

// readAll reads what is stored, from behind the cursor on.
func (p *partition) readAll(ctx context.Context) error {
	r := &reader{
		client: p.group.client, log: p.group.log.With(slog.Int("part", p.n)), wake: p.more,
		open: p.open, final: func(err error) bool {
			return errors.Is(err, ErrStreamShorter) || internal.IsRefusal(err) && !errors.Is(err, jetstream.ErrConsumerNotFound)
		},
		room: p.room, came: p.take, over: p.over,
	}
	defer p.close()
	return r.run(ctx)
}

// room returns what may be asked for, and reserves it.
func (p *partition) room() (messages, bytes int) {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	if p.leaving {
		return 0, 0
	}
	a := p.group.budget.request(&p.usage)
	if a.messages > 0 {
		p.group.budget.ask(&p.usage, a)
	}
	p.group.share()
	return a.messages, a.bytes
}

// over notes that what was asked for has come, or does not.
func (p *partition) over(refused bool) {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	p.group.budget.over(&p.usage)
	p.usage.refused = refused
	p.group.share()
}

// check returns an error if what is stored is not what was read of it before. If only what was read since the cursor is
// gone, it is no more than a partition that was lost.
func (p *partition) check(ctx context.Context) error {
	if !p.opened {
		p.opened = true
		return nil
	}
	info, err := p.group.client.Info(ctx, p.group.cfg.Stream)
	if err != nil {
		return err
	}
	p.group.mu.Lock()
	c := cursor{Seq: p.kept, Made: p.made}
	p.group.mu.Unlock()
	if err := c.isOf(info); err != nil {
		return err
	}
	if info.State.LastSeq < p.read {
		p.lease.cancel(ErrPartitionLost)
		return fmt.Errorf("stream %s ends at %d, and %d was read of it: the broker has lost messages", p.group.cfg.Stream, info.State.LastSeq, p.read)
	}
	return nil
}

// open makes a consumer that begins behind what was read.
func (p *partition) open(ctx context.Context) (consumer, error) {
	p.close()
	if err := p.check(ctx); err != nil {
		return consumer{}, err
	}
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
	p.reads, p.usage.behind = p.consumer, made.CachedInfo().NumPending
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
	var failed error
	behind, size := uint64(0), 0
	for _, m := range ms {
		size += m.Size()
		at, err := internal.ReadMetadata(m)
		if err != nil || at.ConsumerSeq != p.count+1 || at.Seq <= p.read {
			failed = errGap
			break
		}
		next := &placed{of: p, Message: messageOf(m, &at), size: m.Size()}
		is, err := p.has(&next.Message)
		if err != nil {
			failed = fmt.Errorf("%s: message %d: PartitionBy: %w", p.group.name(p.n), next.Seq, err)
			p.group.fail(failed) // nobody knows whose it is
			break
		}
		if is {
			all = append(all, next)
		}
		p.count, p.read, behind = at.ConsumerSeq, at.Seq, at.Pending
	}
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	kept := amount{}
	if !p.leaving {
		for _, m := range all {
			kept = kept.plus(m.amount())
			p.usage.largest = max(m.size, p.usage.largest-p.usage.largest/8)
		}
		p.ready = append(p.ready, all...)
		p.usage.behind, p.upTo = behind, p.read
		p.last, p.asked = p.read, time.Now()
	}
	p.group.budget.came(&p.usage, len(ms), size, kept)
	p.group.share()
	wake(p.group.came)
	return failed
}

// has reports whether a message is of the partition. What its filter lets through is, unless the stream has no
// partitions of its own.
func (p *partition) has(m *Message) (is bool, err error) {
	by := p.group.cfg.PartitionBy
	if by == nil {
		return true, nil
	}
	returned := false
	defer func() {
		if !returned { // nor will anything more be read on this goroutine
			p.group.fail(fmt.Errorf("%s: message %d: PartitionBy: %w", p.group.name(p.n), m.Seq, pipeline.ErrExited))
		}
	}()
	err = caught(func() error {
		is = hash.Partition(by(*m), p.group.cfg.Partitions) == p.n
		return nil
	})
	returned = true
	return is, err
}
