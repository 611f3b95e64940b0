package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/registry"
)

// Bounds of looking after pipelines without a process: a request of each, or two, whatever waits for it.
const (
	maxUnserved    = 20              // that are looked after in a snapshot
	unservedAgain  = countAgain      // how long what the broker said of one is good for
	maxCursorBytes = 8 << 20         // of the cursors of a group, which have what its folds know
	cursorsAgain   = 5 * time.Minute // nobody moves those of a group without a process
)

// unservedKnown is what the broker said before of pipelines without a process.
type unservedKnown struct {
	mu sync.Mutex
	of map[registry.KnownPipeline]unserved
}

// An unserved is what is known of a pipeline without a process.
type unserved struct {
	lag    *int64 // nil: not known
	about  bool   // lag is an estimate
	active time.Time
	gone   bool // it cannot go on: its consumer, its stream or its cursors were removed
	at     time.Time

	seq   uint64 // the furthest cursor of a group
	read  time.Time
	large bool // the cursors are too large to be looked at
}

// Unserved reports whether no process serves the pipeline.
func (p *Pipeline) Unserved() bool { return len(p.Processes) == 0 }

// Position is what keeps how far a pipeline is, without which nothing waits for it.
func (p *Pipeline) Position() string {
	if len(p.Partitions) > 0 {
		return "the cursors of group " + p.Consumer
	}
	return "consumer " + p.Consumer
}

// addUnserved adds the pipelines that no process serves, and that could go on.
func (v *View) addUnserved(ctx context.Context, s *Snapshot, all []registry.KnownPipeline) {
	slices.SortFunc(all, func(a, b registry.KnownPipeline) int { return b.Seen.Compare(a.Seen) })
	found := make([]unserved, len(all))
	errs := make([]error, len(all))
	var g errgroup.Group
	g.SetLimit(maxAsked)
	for i := range all {
		if i == maxUnserved {
			break
		}
		g.Go(func() error {
			found[i], errs[i] = v.lookAfter(ctx, all[i], s.At)
			return nil
		})
	}
	_ = g.Wait() // none fails
	for i, k := range all {
		u := &found[i]
		if err := errs[i]; err != nil {
			s.Missing = append(s.Missing, Missing{What: fmt.Sprintf("what waits for pipeline %s of stream %s", k.Name, k.Stream), Err: err, Why: err.Error()})
		}
		if u.gone {
			continue
		}
		p := Pipeline{
			Name: k.Name, Stream: k.Stream, Consumer: k.Consumer, Lag: u.lag, LagAbout: u.about, Processes: []PipelineProcess{},
			LastActive: u.active,
		}
		if p.LastActive.IsZero() {
			p.LastActive = k.Seen
		}
		for n := range k.Of {
			p.Partitions = append(p.Partitions, OwnedPartition{Partition: n})
		}
		s.Pipelines = append(s.Pipelines, p)
	}
	slices.SortFunc(s.Pipelines, comparePipelines)
}

// lookAfter asks what waits for a pipeline without a process, unless that was asked a moment ago.
func (v *View) lookAfter(ctx context.Context, k registry.KnownPipeline, now time.Time) (unserved, error) {
	v.unserved.mu.Lock()
	u, known := v.unserved.of[k]
	v.unserved.mu.Unlock()
	if known && now.Sub(u.at) < unservedAgain {
		return u, nil
	}
	look := v.lookAfterConsumer
	if k.Of > 0 {
		look = v.lookAfterGroup
	}
	u, err := look(ctx, k, u, now)
	if err != nil {
		return unserved{}, err
	}
	u.at = now
	v.unserved.mu.Lock()
	defer v.unserved.mu.Unlock()
	if v.unserved.of == nil || len(v.unserved.of) > 2*maxUnserved {
		v.unserved.of = make(map[registry.KnownPipeline]unserved) // of those that are served again
	}
	v.unserved.of[k] = u
	return u, nil
}

// lookAfterConsumer asks a durable consumer, which knows all of it.
func (v *View) lookAfterConsumer(ctx context.Context, k registry.KnownPipeline, _ unserved, _ time.Time) (u unserved, err error) {
	c, err := within(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return v.cfg.Client.Consumer(ctx, k.Stream, k.Consumer)
	})
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return unserved{gone: true}, nil
	case err != nil:
		return unserved{}, err
	}
	info := c.CachedInfo()
	u.lag = new(int64(info.NumPending) + int64(info.NumAckPending)) //nolint:gosec // as many as there is room for
	for _, last := range []*time.Time{info.Delivered.Last, info.AckFloor.Last} {
		if last != nil && last.After(u.active) {
			u.active = last.UTC()
		}
	}
	return u, nil
}

// lookAfterGroup takes it that what was stored behind the furthest of a group's cursors waits: to know it of each partition,
// the broker would have to count.
func (v *View) lookAfterGroup(ctx context.Context, k registry.KnownPipeline, u unserved, now time.Time) (unserved, error) {
	if u.read.IsZero() || u.gone || now.Sub(u.read) >= cursorsAgain {
		var err error
		if u, err = v.readCursors(ctx, k); err != nil || u.gone {
			return u, err
		}
		u.read = now
	}
	if u.large {
		return u, nil
	}
	info, err := within(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) { return v.cfg.Client.Info(ctx, k.Stream) })
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return unserved{gone: true}, nil
	case err != nil:
		return unserved{}, err
	}
	u.lag, u.about = new(max(0, int64(info.State.LastSeq)-int64(u.seq))), true //nolint:gosec // sequences
	return u, nil
}

// readCursors finds the furthest cursor of a group.
func (v *View) readCursors(ctx context.Context, k registry.KnownPipeline) (u unserved, err error) {
	ns := v.cfg.Client.Namespace()
	subjects := make([]string, k.Of)
	for n := range subjects {
		subjects[n] = ns + ".state." + k.Consumer + "." + strconv.Itoa(n)
	}
	size := 0
	u.gone = true
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for m, err := range v.cfg.Client.LastOfEach(ctx, ns+"-state", subjects) {
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return u, nil // the stream was removed
		case err != nil:
			return unserved{}, err
		}
		u.gone = false
		if m.Time.After(u.active) {
			u.active = m.Time.UTC()
		}
		if size += len(m.Data); size > maxCursorBytes {
			u.large = true
			return u, nil
		}
		var c struct {
			Seq uint64 `json:"seq"`
		}
		if json.Unmarshal(m.Data, &c) == nil {
			u.seq = max(u.seq, c.Seq)
		}
	}
	return u, nil
}
