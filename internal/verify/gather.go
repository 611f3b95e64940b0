package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
)

// Bounds of what one look asks for.
const (
	maxStreams = 512 // of the account
	maxClaims  = 1_000
	maxInHand  = 1_000 // of a type
)

// A gatherer asks for facts.
type gatherer struct {
	cfg  Config
	deep bool
}

// gather asks for a snapshot, and for what is needed besides.
func (g *gatherer) gather(ctx context.Context, needs map[fact]bool) (*Facts, error) {
	snap, err := g.cfg.View.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the broker: %w", err)
	}
	f := &Facts{
		Snapshot: snap, Server: stream.Connected(g.cfg.Conn), MaxPayload: g.cfg.Conn.MaxPayload(),
		Own: make(map[string]bool), Faults: make(map[string][]string), Consumers: make(map[string][]Consumer), Heads: make(map[string]Head),
		Ledger: newLedger(snap), failed: make(map[fact]error),
	}
	g.describe(f)
	for _, step := range []struct {
		fact
		ask func(context.Context, *Facts) error
	}{
		{ofRunning, g.running},
		{ofHands, g.hands}, // first, since the snapshot ages
		{ofEntries, g.entries},
		{ofAccount, g.account},
		{ofHeads, g.heads},
		{ofEvents, g.events},
		{ofDead, g.records},
		{ofWaiting, g.waiting},
		{ofCrons, g.crons},
		{ofLate, g.late},
	} {
		if !needs[step.fact] {
			continue
		}
		if err := step.ask(ctx, f); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			f.failed[step.fact] = err
		}
	}
	return f, nil
}

// describe says of what the snapshot has what is wrong with it.
func (g *gatherer) describe(f *Facts) {
	prefix := f.Snapshot.Namespace + "-"
	for i := range f.Snapshot.Streams {
		s := &f.Snapshot.Streams[i]
		f.Own[s.Name] = strings.HasPrefix(s.Name, prefix)
		if name, err := job.QueueName(s.Queue); err == nil && s.Info != nil {
			f.Faults[s.Name] = g.cfg.Store.QueueFaults(name, s.Info)
		}
	}
	for i := range f.Snapshot.Queues {
		q := &f.Snapshot.Queues[i]
		name, err := job.QueueName(q.Name)
		if err != nil {
			continue
		}
		for k := range q.Types {
			if info := q.Types[k].Info; info != nil {
				f.Consumers[q.Name] = append(f.Consumers[q.Name], Consumer{Name: info.Name, Faults: g.cfg.Store.ConsumerFaults(name, info)})
			}
		}
	}
}

// account asks for all streams, since each may be a mirror of a queue.
func (g *gatherer) account(ctx context.Context, f *Facts) error {
	names, err := g.cfg.Client.Names(ctx, "")
	if err != nil {
		return err
	}
	for _, name := range names[:min(len(names), maxStreams)] {
		info, err := g.cfg.Client.Info(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		f.Account = append(f.Account, info)
	}
	return nil
}

// eachQueue calls ask with each queue whose stream was read.
func (g *gatherer) eachQueue(f *Facts, ask func(name job.Name, s *view.Stream) error) error {
	for i := range f.Snapshot.Streams {
		s := &f.Snapshot.Streams[i]
		name, err := job.QueueName(s.Queue)
		if err != nil || s.Info == nil {
			continue
		}
		if err := ask(name, s); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) heads(ctx context.Context, f *Facts) error {
	return g.eachQueue(f, func(name job.Name, s *view.Stream) error {
		m, err := g.cfg.Client.NextAny(ctx, s.Name, ">", 1)
		if errors.Is(err, stream.ErrNotFound) {
			f.Heads[s.Queue] = Head{}
			return nil
		}
		if err != nil {
			return err
		}
		f.Heads[s.Queue] = Head{Subject: m.Subject, Seq: m.Seq, Pin: g.cfg.Store.IsPin(name, m)}
		return nil
	})
}

// running asks the workers what they run, and looks for the messages of that.
func (g *gatherer) running(ctx context.Context, f *Facts) error {
	running, err := g.cfg.Registry.Running(ctx, "")
	if err != nil {
		return err
	}
	for i := range running {
		running[i].Progress = nil // its note is the handler's, and not for a report
	}
	f.Running = running
	keys, err := g.cfg.Registry.Bucket().Peek(ctx, "key.*")
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		return err
	}
	f.Keyed = make(map[string]time.Time, len(keys))
	for _, e := range keys {
		f.Keyed[strings.TrimPrefix(e.Key, "key.")] = e.Time
	}
	places := make([]job.Place, 0, min(len(running), maxClaims))
	of := make(map[job.Place]registry.Running)
	for _, r := range running[:min(len(running), maxClaims)] { // the oldest
		p, err := job.PlaceOf(r.Queue, r.Type, r.ID)
		if err != nil || !r.Since.Before(f.Snapshot.At.Add(-skew)) {
			continue
		}
		places, of[p] = append(places, p), r
	}
	messages, err := g.cfg.Store.ReadyMessages(ctx, places)
	if err != nil {
		return err
	}
	for _, p := range places {
		c := Claim{Running: of[p]}
		if m := messages[p]; m != nil {
			c.Message = m.Seq
		}
		if t := typeOf(f.Snapshot, c.Queue, c.Type); t != nil {
			c.Delivered = t.Delivered
		}
		f.Claims = append(f.Claims, c)
	}
	return nil
}

func typeOf(s *view.Snapshot, queueName, typ string) *view.Type {
	for _, t := range typesOf(s) {
		if t.Queue == queueName && t.Name == typ {
			return t
		}
	}
	return nil
}

// hands looks for what is handed out and with nobody, where the numbers say that there is such.
func (g *gatherer) hands(ctx context.Context, f *Facts) error {
	type place struct{ queue, typ, id string }
	running := make(map[place]bool, len(f.Running))
	for _, r := range f.Running {
		running[place{r.Queue, r.Type, r.ID}] = true
	}
	for _, t := range typesOf(f.Snapshot) {
		if t.Info == nil || t.Info.NumAckPending == 0 || t.Claimed.Known() && t.Claimed.Value >= int64(t.Info.NumAckPending) {
			continue
		}
		name, err := job.QueueName(t.Queue)
		if err != nil {
			continue
		}
		found, err := g.cfg.View.Head(ctx, g.cfg.Store.ReadyOf(name, t.Name), t.Info.AckFloor.Stream+1, t.Delivered, min(t.Info.NumAckPending, maxInHand))
		if err != nil {
			return err
		}
		for _, m := range found {
			if read, ok := g.cfg.Store.ReadMessage(m); ok && !running[place{read.Queue, read.Type, read.ID}] {
				f.Hands = append(f.Hands, Hand{Queue: read.Queue, Type: read.Type, ID: read.ID, Seq: m.Seq, Served: t.Workers > 0, Asked: t.Pulls > 0})
			}
		}
	}
	return nil
}

func (g *gatherer) entries(ctx context.Context, f *Facts) (err error) {
	f.Entries, err = g.cfg.Registry.Bucket().Peek(ctx, "node.*", "grant.*.*", "rate.*.*", "cancel.>", "order.*")
	if errors.Is(err, stream.ErrNotFound) {
		return nil
	}
	return err
}

func (g *gatherer) crons(ctx context.Context, f *Facts) error {
	all, err := g.cfg.Registry.Crons(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if f.stream(f.Snapshot.Namespace+"-queue-"+c.Job.Queue) == nil {
			continue // whoever reads its cursor would make the queue
		}
		cursor, now, err := g.cfg.Store.CronCursor(ctx, c.Job.Queue, c.Name)
		if err != nil {
			return err
		}
		f.Crons = append(f.Crons, Schedule{Cron: c, Cursor: cursor, Now: now})
	}
	return nil
}
