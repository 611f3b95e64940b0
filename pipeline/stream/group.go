package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	internal "github.com/millhand/millhand/internal/stream"
)

// Ownership of partitions: the key of one is its owner's for ownTTL after the last write, and he uses it for
// a little less, since his clock begins before the broker's.
const (
	ownTTL   = 10 * time.Second
	ownUse   = 8 * time.Second
	ownRenew = ownTTL / 3
	ownRound = 500 * time.Millisecond
	leaveFor = 10 * time.Second // what the end of a run waits for the broker
	takeFor  = time.Second      // what a round takes partitions for: those that are taken have to be renewed
	abreast  = 16               // keys that are written at once
)

// Keys in the registry's bucket.
const (
	ownKeys  = "own"  // own.<group>.<partition>: who has it
	wantKeys = "want" // want.<group>.<node>: who wants some
)

// A group is one process among those that share out the partitions of a stream, while a pipeline runs.
type group struct {
	*ordered
	client  *internal.Client
	cursors *cursors
	bucket  *internal.Bucket
	node    string
	wake    chan struct{} // a partition was left; capacity 1
	failed  chan error    // what ends the run; capacity 1
	parts   sync.WaitGroup

	// Of the goroutine of run.
	mine   map[int]*partition
	wanted time.Time // when the key that says so was written
}

type ownValue struct {
	Node  string `json:"node"`
	Epoch uint64 `json:"epoch,omitempty"`
}

// run shares out partitions until ctx ends, and then leaves those that are this process's.
func (g *group) run(ctx context.Context) error {
	g.mine = map[int]*partition{}
	living, end := context.WithCancel(context.WithoutCancel(ctx))
	defer g.parts.Wait()
	defer end()
	tick := time.NewTimer(0)
	defer tick.Stop()
	opened := false
	for {
		select {
		case <-ctx.Done():
			g.leave(living)
			return nil
		case err := <-g.failed:
			g.leave(living)
			return err
		case <-g.wake:
		case <-tick.C:
		}
		var err error
		if !opened {
			if err = g.open(ctx); internal.Final(err) {
				return err
			}
			opened = err == nil
		}
		if err == nil {
			err = g.round(ctx, living)
		}
		if err != nil && ctx.Err() == nil {
			g.log.WarnContext(ctx, "partitions cannot be shared out: trying again", slog.Any("err", err))
		}
		tick.Reset(ownRound - rand.N(ownRound/5)) //nolint:gosec // no secret
	}
}

func (g *group) open(ctx context.Context) error {
	if _, err := g.bucket.Open(ctx); err != nil {
		return err
	}
	return g.cursors.open(ctx)
}

func (g *group) ownKey(partition int) string {
	return ownKeys + "." + g.cfg.Group + "." + strconv.Itoa(partition)
}

func (g *group) wantKey() string { return wantKeys + "." + g.cfg.Group + "." + g.node }

// round renews what is this process's, and takes and gives what is due.
func (g *group) round(ctx, living context.Context) error {
	err := g.renew(ctx)
	g.sweep(ctx)
	if g.isDraining() {
		return errors.Join(err, g.drain(ctx))
	}
	if sent := time.Now(); elapsed(g.wanted, sent) >= ownRenew {
		if _, err := g.bucket.Put(ctx, internal.Write{Key: g.wantKey(), Value: []byte("{}"), TTL: ownTTL}); err != nil {
			return err
		}
		g.wanted = sent
	}
	entries, _, readErr := g.bucket.Read(ctx, ownKeys+"."+g.cfg.Group+".*", wantKeys+"."+g.cfg.Group+".*")
	if err = errors.Join(err, readErr); err != nil {
		return err
	}
	s, revs := g.shares(entries)
	take, give := s.assign()
	for _, p := range give {
		if own, ok := g.mine[p]; ok {
			own.leave()
		}
	}
	g.takeAll(ctx, living, take, revs)
	return nil
}

// takeAll tries to make partitions this process's, as many as there is time for: however far the broker is away, the
// next round is not late with the leases of those that it has.
func (g *group) takeAll(ctx, living context.Context, take []int, revs map[int]uint64) {
	var all errgroup.Group
	all.SetLimit(abreast)
	taken := make([]*partition, len(take))
	begin := time.Now()
	for i, n := range take {
		if elapsed(begin, time.Now()) >= takeFor {
			wake(g.wake) // the others are for the next round
			break
		}
		if g.mine[n] == nil {
			all.Go(func() error {
				taken[i] = g.take(ctx, n, revs[n])
				return nil
			})
		}
	}
	_ = all.Wait() // none fails
	for _, p := range taken {
		if p != nil {
			g.mine[p.n] = p
		}
	}
	g.expect(len(g.mine))
	for _, p := range taken {
		if p != nil {
			g.begin(living, p)
		}
	}
}

// shares reads who has what.
func (g *group) shares(entries []internal.Entry) (s *shares, revs map[int]uint64) {
	s = &shares{partitions: g.cfg.Partitions, node: g.node, owners: map[int]string{}, members: []string{g.node}}
	revs = map[int]uint64{}
	for _, e := range entries {
		last := e.Key[strings.LastIndexByte(e.Key, '.')+1:]
		if strings.HasPrefix(e.Key, wantKeys+".") {
			if e.Value != nil && last != g.node {
				s.members = append(s.members, last)
			}
			continue
		}
		p, err := strconv.Atoi(last)
		if err != nil {
			continue
		}
		revs[p] = e.Rev
		var v ownValue
		if e.Value != nil && json.Unmarshal(e.Value, &v) == nil && v.Node != g.node {
			s.owners[p] = v.Node
		}
	}
	for p, own := range g.mine { // what was written just now may not have been read yet
		s.owners[p] = g.node
		if own.isLeaving() {
			s.leaving++
		}
	}
	return s, revs
}

// take tries to make a partition this process's. It returns nil if it is not.
func (g *group) take(ctx context.Context, n int, rev uint64) *partition {
	value, err := json.Marshal(ownValue{Node: g.node})
	if err != nil {
		return nil
	}
	sent := time.Now()
	own, err := g.bucket.Put(ctx, internal.Write{Key: g.ownKey(n), Value: value, TTL: ownTTL, On: g.ownKey(n), Rev: rev})
	if err != nil {
		if !errors.Is(err, internal.ErrConflict) {
			g.log.WarnContext(ctx, "a partition cannot be taken", slog.Int("part", n), slog.Any("err", err))
		}
		return nil
	}
	return newPartition(g, n, newLease(ownUse, sent, ErrPartitionLost), own)
}

// begin has a partition read and kept.
func (g *group) begin(living context.Context, p *partition) {
	g.parts.Go(func() {
		defer wake(g.wake)
		defer close(p.left)
		if err := p.run(living); err != nil {
			g.fail(err)
		}
	})
}

// fail ends the run.
func (g *group) fail(err error) {
	select {
	case g.failed <- err:
	default: // it ends already
	}
}

// renew writes the keys of this process's partitions again. One that fails keeps no other from it.
func (g *group) renew(ctx context.Context) error {
	var all errgroup.Group
	all.SetLimit(abreast)
	for n, p := range g.mine {
		if p.lease.Err() != nil || !p.lease.due(time.Now(), ownRenew) {
			continue
		}
		all.Go(func() error {
			value, err := json.Marshal(ownValue{Node: g.node, Epoch: p.currentEpoch()})
			if err != nil {
				return err
			}
			sent := time.Now()
			rev, err := g.bucket.Put(ctx, internal.Write{Key: g.ownKey(n), Value: value, TTL: ownTTL, On: g.ownKey(n), Rev: p.rev})
			switch {
			case err == nil:
				p.rev = rev
				p.lease.renew(sent)
			case errors.Is(err, internal.ErrConflict):
				return g.renewAgain(ctx, p)
			}
			return err
		})
	}
	return all.Wait()
}

// renewAgain learns what is under the key of a partition: a write of ours whose answer was lost, or somebody
// else's.
func (g *group) renewAgain(ctx context.Context, p *partition) error {
	e, err := g.bucket.Get(ctx, g.ownKey(p.n))
	if err != nil && !errors.Is(err, internal.ErrNotFound) {
		return err
	}
	var v ownValue
	if err == nil && json.Unmarshal(e.Value, &v) == nil && v.Node == g.node {
		p.rev = e.Rev
		return nil // the next round renews it
	}
	p.lease.cancel(ErrPartitionLost)
	return nil
}

// sweep forgets partitions that are left or lost, and lets others have them.
func (g *group) sweep(ctx context.Context) {
	var all errgroup.Group
	all.SetLimit(abreast)
	defer func() { _ = all.Wait() }() // none fails
	for n, p := range g.mine {
		select {
		case <-p.left:
		default:
			_ = p.lease.Err() // ends it, if it is over
			continue
		}
		delete(g.mine, n)
		if p.clean {
			all.Go(func() error {
				_, _ = g.bucket.Put(ctx, internal.Write{Key: g.ownKey(n), Remove: true, TTL: internal.MarkerTTL, On: g.ownKey(n), Rev: p.rev}) // or it expires
				return nil
			})
		} else {
			g.log.WarnContext(ctx, "a partition was lost: it has another owner, or the broker did not answer in time", slog.Int("part", n))
		}
	}
}

// leave ends the ownership of all partitions, for as long as the broker is waited for.
func (g *group) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveFor)
	defer cancel()
	for _, p := range g.mine {
		p.abandon()
	}
	for _, p := range g.mine {
		select {
		case <-p.left:
		case <-ctx.Done():
			p.lease.cancel(ErrPartitionLost)
			<-p.left
		}
	}
	g.sweep(ctx)
	_, _ = g.bucket.Put(ctx, internal.Write{Key: g.wantKey(), Remove: true, TTL: internal.MarkerTTL}) // or it expires
}

// filter is the subject of a partition.
func (o *ordered) filter(n int) string {
	return strings.ReplaceAll(o.cfg.Subject, partitionToken, strconv.Itoa(n))
}

// name is what a partition is called in errors.
func (o *ordered) name(n int) string { return fmt.Sprintf("partition %d of group %s", n, o.cfg.Group) }
