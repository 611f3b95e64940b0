package arrival

import (
	"context"
	"errors"
	"strconv"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

func (s *Store) rootSubject(run, step string) string { return s.tallySubject(run) + "." + step }

func (s *Store) shardSubject(run, step string, shard int) string {
	return s.rootSubject(run, step) + "." + strconv.Itoa(shard)
}

// root reads how far a group has come, or returns [errGone].
func (s *Store) root(ctx context.Context, run, step string) (workflow.Root, uint64, error) {
	m, err := s.document(ctx, s.rootSubject(run, step))
	switch {
	case err != nil:
		return workflow.Root{}, 0, err
	case m == nil:
		return workflow.Root{}, 0, errGone
	}
	r, err := workflow.DecodeRoot(m.Data)
	return r, m.Seq, err
}

// shard reads the bits of the shard that a job of a group is in: none yet are those of its generation.
func (s *Store) shard(ctx context.Context, m workflow.Member) (workflow.Shard, uint64, error) {
	g, err := s.graphOf(ctx, m)
	if err != nil || g == nil {
		return workflow.Shard{Gen: m.Gen}, 0, err
	}
	return s.readShard(ctx, m, g.Steps[m.Step].Name, m.Job/workflow.ShardJobs)
}

func (s *Store) readShard(ctx context.Context, m workflow.Member, step string, shard int) (workflow.Shard, uint64, error) {
	msg, err := s.document(ctx, s.shardSubject(m.Run, step, shard))
	if err != nil || msg == nil {
		return workflow.Shard{Gen: m.Gen}, 0, err
	}
	sh, err := workflow.DecodeShard(msg.Data)
	return sh, msg.Seq, err
}

// arriveInGroup counts the end of a job of a group, and does what follows from that.
func (s *Store) arriveInGroup(ctx context.Context, m workflow.Member, end stepEnd) error {
	g, err := s.graphOf(ctx, m)
	if err != nil || g == nil {
		return err
	}
	if end.state == workflow.Succeeded && keepsResult(&g.Steps[m.Step], m.Gen, end.result) {
		if err := s.storeGroupResult(ctx, g, m, end.result); err != nil {
			return err
		}
	}
	w := s.shardWriter(m)
	defer s.leaveShard(w)
	if err := w.end(ctx, g, heldEnd{workflow.JobEnd{At: m.Job % workflow.ShardJobs, State: end.state}, end.held}); err != nil {
		return err
	}
	return end.check()
}

// lostInGroup is [Store.Lost] of a job of a group.
func (s *Store) lostInGroup(ctx context.Context, m workflow.Member) (succeeded bool, err error) {
	g, err := s.graphOf(ctx, m)
	if err != nil || g == nil {
		return false, err
	}
	w := s.shardWriter(m)
	defer s.leaveShard(w)
	shard, err := w.bar(ctx, g)
	return shard.Gen == m.Gen && shard.At(m.Job%workflow.ShardJobs) == workflow.Succeeded, err
}

// keepsResult reports whether what a job has returned is to be stored: in a later generation also nothing is, see
// [Store.storeResult].
func keepsResult(step *workflow.Step, gen int, result []byte) bool {
	return step.KeepResults && (len(result) > 0 || gen > 1)
}

// storeGroupResult stores what a job of a group has returned.
func (s *Store) storeGroupResult(ctx context.Context, g *workflow.Graph, m workflow.Member, result []byte) error {
	return s.storeResult(ctx, s.outSubject(m.Run, g.Steps[m.Step].Name)+"."+strconv.Itoa(m.Job), m, result)
}

// changeRoot writes what follows from the root of a group. It returns [errGone] if there is none of the
// generation any more.
func (s *Store) changeRoot(ctx context.Context, m workflow.Member, step string, change func(*workflow.Root) (workflow.Root, bool)) (workflow.Root, error) {
	var refused stream.Conflicts
	for {
		root, seq, err := s.root(ctx, m.Run, step)
		if err != nil {
			return root, err
		}
		if root.Gen != m.Gen {
			return root, errGone
		}
		next, changed := change(&root)
		if !changed {
			return next, nil
		}
		err = s.publish(ctx, s.rootSubject(m.Run, step), next.Encode(), seq)
		if err == nil || !errors.Is(err, stream.ErrConflict) {
			return next, err
		}
		if err := refused.Wait(ctx); err != nil {
			return next, err
		}
	}
}

// countShard tells the root of a group what a shard of it has: that it is full, or how many have failed.
func (s *Store) countShard(ctx context.Context, g *workflow.Graph, m workflow.Member, k int, shard *workflow.Shard) error {
	step := &g.Steps[m.Step]
	c := shard.Counts()
	full := c.Ended() >= step.Layout().Size(k)
	if !full && (step.Tolerate == nil || c.Failed == 0) {
		return nil
	}
	root, err := s.changeRoot(ctx, m, step.Name, func(r *workflow.Root) (workflow.Root, bool) {
		if full {
			return r.Fill(k, c)
		}
		return r.Fail(k, c.Failed)
	})
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.endGroup(ctx, g, m, &root)
}

// willFail reports whether a group will fail, of which a shard tells. One that tolerates some failures and has more fails
// at once.
func willFail(step *workflow.Step, shard *workflow.Shard) bool {
	return step.Tolerate == nil && shard.Counts().Failed > 0
}

// tellFailing notes that a group will fail before it has ended, and releases what waits for no more than that.
func (s *Store) tellFailing(ctx context.Context, m workflow.Member) error {
	for conflicts := (stream.Conflicts{}); ; {
		g, t, seq, err := s.lookOf(ctx, m)
		if err != nil || g == nil || t.At(m.Step) != workflow.Pending {
			return err
		}
		next, first := g.Fail(&t, m.Step)
		if first {
			err = s.write(ctx, m.Run, &next, seq)
			if errors.Is(err, stream.ErrConflict) {
				if err := conflicts.Wait(ctx); err != nil {
					return err
				}
				continue
			}
		}
		if err != nil {
			return err
		}
		return s.release(ctx, g, &next, g.Opens(&next, m.Step))
	}
}

// endGroup ends the step of a group if its root says so.
func (s *Store) endGroup(ctx context.Context, g *workflow.Graph, m workflow.Member, root *workflow.Root) error {
	step := &g.Steps[m.Step]
	state, ended := root.End(workflow.ShardJobs, step.Tolerates())
	early := !ended && step.Tolerate != nil && root.Fails(*step.Tolerate)
	if early {
		state = workflow.Failed
	}
	if !ended && !early {
		return nil
	}
	m.Job, m.Again = -1, false
	if err := s.count(ctx, m, stepEnd{state: state}); err != nil || !early {
		return err
	}
	return s.dropLater(ctx, g.Spec, m)
}
