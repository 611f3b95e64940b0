package arrival

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// maxShards bounds the shards whose bits are kept in memory.
const maxShards = 256

// conflictPause bounds how long a writer of a shard waits that was refused more than once: more ends come
// meanwhile. It does not grow, since each write of others brings the shard nearer to its end.
const conflictPause = 20 * time.Millisecond

// A shardKey names a shard of a group.
type shardKey struct {
	run       string
	gen, step int
	shard     int
}

func keyOf(m workflow.Member) shardKey {
	return shardKey{m.Run, m.Gen, m.Step, m.Job / workflow.ShardJobs}
}

// A shardWriter writes the bits of a shard. Whoever comes while another one writes waits, and then one of
// those that wait writes for all of them.
type shardWriter struct {
	store  *Store
	member workflow.Member // of any of its jobs
	key    shardKey
	users  int // of the store's mutex

	mu      sync.Mutex
	waiting []*shardEnd
	busy    bool // somebody writes, or was told to

	// Of who writes.
	known bool
	shard workflow.Shard // as last read or written
	seq   uint64
	told  bool // that the group will fail
}

// A heldEnd is the end of a job of a group.
type heldEnd struct {
	workflow.JobEnd
	held func() error // as that of [queue.StepEnd]
}

// A shardEnd is the ends of jobs that are to be counted.
type shardEnd struct {
	ends  []heldEnd
	bars  bool           // the shard is written also if nothing changes: see [Store.Lost]
	shard workflow.Shard // as it is then
	graph *workflow.Graph
	done  chan error    // capacity 1
	lead  chan struct{} // capacity 1: it is to write
}

// shardWriter returns the writer of the shard that a job is in, which is the caller's until leaveShard.
func (s *Store) shardWriter(m workflow.Member) *shardWriter {
	key := keyOf(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.shards[key]
	if w == nil {
		if len(s.shards) >= maxShards {
			for k, old := range s.shards {
				if old.users == 0 {
					delete(s.shards, k)
				}
			}
		}
		w = &shardWriter{store: s, member: m, key: key}
		s.shards[key] = w
	}
	w.users++
	return w
}

func (s *Store) leaveShard(w *shardWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.users--
}

// end counts the ends of jobs, but for those that are not held any more, and returns once all is done that follows from
// that.
func (w *shardWriter) end(ctx context.Context, g *workflow.Graph, ends ...heldEnd) error {
	return w.add(ctx, &shardEnd{ends: ends, graph: g})
}

// bar has nobody count ends who had read the shard before, and does not hold the jobs any more. It returns what is
// counted.
func (w *shardWriter) bar(ctx context.Context, g *workflow.Graph) (workflow.Shard, error) {
	e := &shardEnd{bars: true, graph: g}
	err := w.add(ctx, e)
	return e.shard, err
}

func (w *shardWriter) add(ctx context.Context, e *shardEnd) error {
	e.done, e.lead = make(chan error, 1), make(chan struct{}, 1)
	w.mu.Lock()
	w.waiting = append(w.waiting, e)
	if !w.busy {
		w.busy = true
		e.lead <- struct{}{}
	}
	w.mu.Unlock()
	select {
	case err := <-e.done:
		return err
	case <-e.lead:
		return w.lead(ctx, e)
	case <-ctx.Done():
	}
	w.leave(e)
	return ctx.Err()
}

// lead writes for all that wait, and has another one go on.
func (w *shardWriter) lead(ctx context.Context, own *shardEnd) error {
	defer w.pass()
	batch := w.take(nil)
	err := w.write(ctx, own.graph, &batch)
	for _, e := range batch {
		if e != own {
			e.done <- err
		}
	}
	return err
}

// take adds those that wait to a batch.
func (w *shardWriter) take(batch []*shardEnd) []*shardEnd {
	w.mu.Lock()
	defer w.mu.Unlock()
	batch = append(batch, w.waiting...)
	w.waiting = nil
	return batch
}

// pass has the first one write of those that wait.
func (w *shardWriter) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = len(w.waiting) > 0
	if w.busy {
		w.waiting[0].lead <- struct{}{}
	}
}

// leave forgets an end whose caller has left. It is in a batch by now, or may have been told to write.
func (w *shardWriter) leave(e *shardEnd) {
	w.mu.Lock()
	for i, other := range w.waiting {
		if other == e {
			w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
			break
		}
	}
	w.mu.Unlock()
	select {
	case <-e.lead:
		w.pass()
	default:
	}
}

// write counts the ends of a batch. Those that come while it has to wait are added.
func (w *shardWriter) write(ctx context.Context, g *workflow.Graph, batch *[]*shardEnd) error {
	for refused := 0; ; refused++ {
		if refused > 1 {
			if err := stream.Sleep(ctx, rand.N(conflictPause)); err != nil {
				return err
			}
			*batch = w.take(*batch)
		}
		if !w.known {
			var err error
			if w.shard, w.seq, err = w.store.readShard(ctx, w.member, g.Steps[w.member.Step].Name, w.key.shard); err != nil {
				return err
			}
		}
		if w.shard.Gen > w.key.gen {
			return nil // nobody counts them any more
		}
		next, err := w.count(ctx, g, *batch)
		if errors.Is(err, stream.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range *batch {
			e.shard = next
		}
		if !w.told && willFail(&g.Steps[w.member.Step], &next) {
			if err := w.store.tellFailing(ctx, w.member); err != nil {
				return err
			}
			w.told = true
		}
		return w.store.countShard(ctx, g, w.member, w.key.shard, &next)
	}
}

// count has the ends of a batch in the shard, as it is known, and returns what that is now.
func (w *shardWriter) count(ctx context.Context, g *workflow.Graph, batch []*shardEnd) (workflow.Shard, error) {
	w.shard.Gen = w.key.gen
	ends, bars := make([]workflow.JobEnd, 0, len(batch)), false
	for _, e := range batch {
		bars = bars || e.bars
		for i := range e.ends {
			if held := e.ends[i].held; held == nil || held() == nil {
				ends = append(ends, e.ends[i].JobEnd)
			}
		}
	}
	next, changed := w.shard.EndAll(ends)
	if !changed && !bars {
		w.known = true
		return next, nil
	}
	seq, err := w.store.publishShard(ctx, w.member.Run, g.Steps[w.member.Step].Name, w.key.shard, &next, w.seq)
	if w.known = err == nil; w.known {
		w.shard, w.seq = next, seq
	}
	return next, err
}
