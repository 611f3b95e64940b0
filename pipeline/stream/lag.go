package stream

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/registry"
	internal "github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/pipeline"
)

// measureEvery is how often the broker is asked what waits.
const measureEvery = 5 * time.Second

// every calls f now and then, until ctx ends or the user is not allowed what f asks for.
func every(ctx context.Context, f func() error) {
	for {
		if err := f(); errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, nats.ErrConnectionClosed) {
			return
		}
		if internal.Sleep(ctx, measureEvery) != nil {
			return
		}
	}
}

// waiting is what of a consumer's messages is not settled, by any process.
type waiting struct {
	messages int64
	known    bool
}

// measure asks the broker what waits.
func (s *shared) measure(ctx context.Context, client *internal.Client) {
	every(ctx, func() error {
		asking, cancel := context.WithTimeout(ctx, internal.RequestTimeout)
		defer cancel()
		c, err := client.Consumer(asking, s.cfg.Stream, s.cfg.Durable)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.wait = waiting{}
			return err
		}
		info := c.CachedInfo()
		s.wait = waiting{messages: int64(info.NumPending) + int64(info.NumAckPending), known: true} //nolint:gosec // a count
		return nil
	})
}

// Lag returns what waits in the stream for all processes that share it, as the broker said within the last
// seconds. It is empty if it did not. It implements [pipeline.Lagger].
func (s *Source[T]) Lag() []pipeline.Lag { return s.lags() }

func (s *shared) lags() []pipeline.Lag {
	s.mu.Lock()
	wait := s.wait
	s.mu.Unlock()
	if !wait.known {
		return nil
	}
	return []pipeline.Lag{{Partition: -1, Messages: wait.messages, Oldest: s.renewals.oldest()}}
}

// oldest is when the oldest of the messages in hand was stored; zero: there is none.
func (r *renewals) oldest() (at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h := r.first; h != nil; h = h.next {
		if at.IsZero() || h.Time.Before(at) {
			at = h.Time
		}
	}
	return at
}

func (s *shared) uses() pipeline.User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.user
}

func (s *shared) describe(p *registry.Pipeline) { p.Stream, p.Consumer = s.cfg.Stream, s.cfg.Durable }

func (s *shared) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drains
}

// setDraining has nothing taken, by an order, or lets it be taken again.
func (s *shared) setDraining(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drains = on; on {
		s.room = 0
		s.handBackReady()
		return
	}
	wake(s.came) // Pull asks again
}

// measure asks the broker what has not been read of partitions that are not read at the moment, since there is
// no room.
func (g *group) measure(ctx context.Context) {
	every(ctx, func() (denied error) {
		for _, p := range g.unread() {
			behind, err := g.pending(ctx, p)
			if err != nil {
				denied = err
				continue
			}
			p.of.measured(p.read, behind)
		}
		return denied
	})
}

// pending asks what has not been read of a partition. Its consumer is gone if it is not read for long.
func (g *group) pending(ctx context.Context, p unread) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, internal.RequestTimeout)
	defer cancel()
	c, err := g.client.Consumer(ctx, g.cfg.Stream, p.reads)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		cfg := g.reads(p.of.n, p.read+1)
		cfg.InactiveThreshold = time.Second
		c, err = g.client.CreateConsumer(ctx, g.cfg.Stream, cfg)
	}
	if err != nil {
		return 0, err
	}
	return c.CachedInfo().NumPending, nil
}

// An unread partition is one that was not read for a while, since there was no room.
type unread struct {
	of    *partition
	reads string // its consumer
	read  uint64 // the last message of it
}

func (g *group) unread() (all []unread) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.owned {
		if p.reads != "" && p.usage.asked.messages == 0 && time.Since(p.asked) >= measureEvery {
			all = append(all, unread{p, p.reads, p.last})
		}
	}
	return all
}

// measured notes what was not read behind a message.
func (p *partition) measured(read, behind uint64) {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	if p.last == read {
		p.usage.behind, p.asked = behind, time.Now()
		p.group.share()
	}
}

// Lag returns what is stored and not settled of each partition that is this process's, sorted. With PartitionBy it is an
// estimate of how many messages. It implements [pipeline.Lagger].
func (o *Ordered[T]) Lag() []pipeline.Lag { return o.lags() }

func (o *ordered) lags() []pipeline.Lag {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]pipeline.Lag, 0, len(o.owned))
	for _, p := range o.owned {
		behind := p.usage.behind
		if o.cfg.PartitionBy != nil {
			behind /= uint64(o.cfg.Partitions) //nolint:gosec // positive
		}
		l := pipeline.Lag{Partition: p.n, Messages: int64(behind) + int64(len(p.ready)+p.progress.open)} //nolint:gosec // a count
		switch {
		case len(p.hand) > 0:
			l.Oldest = p.hand[0].Time
		case len(p.ready) > 0:
			l.Oldest = p.ready[0].Time
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b pipeline.Lag) int { return cmp.Compare(a.Partition, b.Partition) })
	return all
}

func (o *ordered) uses() pipeline.User {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.user
}

func (o *ordered) describe(p *registry.Pipeline) {
	p.Stream, p.Consumer, p.Of = o.cfg.Stream, o.cfg.Group, o.cfg.Partitions
}

func (o *ordered) isDraining() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.drains
}

// setDraining has all partitions given up, by an order, or lets them be taken again. The next round does so.
func (o *ordered) setDraining(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drains = on
}

// drain gives all partitions up, and wants none.
func (g *group) drain(ctx context.Context) error {
	for _, p := range g.mine {
		p.leave()
	}
	if g.wanted.IsZero() {
		return nil
	}
	if _, err := g.bucket.Put(ctx, internal.Write{Key: g.wantKey(), Remove: true, TTL: internal.MarkerTTL}); err != nil {
		return err
	}
	g.wanted = time.Time{}
	return nil
}
