package arrival

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// fillFor is for how long the jobs of a group are published by one run of the job that does. Then it goes on
// as another one.
const fillFor = 30 * time.Second

// A groupJob is the payload of a job that does something about a whole group.
type groupJob struct {
	Run  string `json:"run"`
	Gen  int    `json:"gen"`
	Step int    `json:"step"`
}

// fillRecord is the job that publishes those of a group.
func fillRecord(spec *workflow.Spec, gen, step int) (*job.Record, error) {
	return groupRecord(spec, gen, step, workflow.FillID(spec.ID, spec.Run, gen, step), workflow.StepLife(spec.Run, gen, step))
}

func groupRecord(spec *workflow.Spec, gen, step int, id, life string) (*job.Record, error) {
	payload, err := json.Marshal(groupJob{Run: spec.Run, Gen: gen, Step: step})
	return &job.Record{
		Queue: spec.Queue, Type: job.WorkflowType, ID: id, Life: life, Attempt: 1, Payload: payload,
	}, err
}

// published reports whether all jobs of a group are in their queue, or have been.
func (s *Store) published(ctx context.Context, spec *workflow.Spec, gen, step int) (bool, error) {
	root, _, err := s.root(ctx, spec.Run, spec.Steps[step].Name)
	if errors.Is(err, errGone) {
		return false, nil
	}
	jobs := spec.Steps[step].Jobs
	return root.Gen == gen && jobs > 0 && root.Published >= jobs, err
}

// groupOf reads which group a job is about. No graph says that nothing is to be done about it any more.
func (s *Store) groupOf(ctx context.Context, r *job.Record) (*workflow.Graph, *workflow.Tally, workflow.Member, error) {
	var p groupJob
	if err := json.Unmarshal(r.Payload, &p); err != nil {
		return nil, nil, workflow.Member{}, &job.MalformedError{Err: err}
	}
	id, _, _ := workflow.Split(r.ID)
	m := workflow.Member{ID: id, Run: p.Run, Gen: p.Gen, Step: p.Step, Job: -1}
	if err := workflow.CheckRun(p.Run); err != nil || p.Step < 0 {
		return nil, nil, m, &job.MalformedError{Err: fmt.Errorf("run %q, step %d", p.Run, p.Step)}
	}
	g, t, _, err := s.lookOf(ctx, m)
	if err != nil || g == nil || g.Steps[m.Step].Kind != workflow.KindGroup {
		return nil, nil, m, err
	}
	return g, &t, m, nil
}

// storeItems stores the payloads of the groups among some steps of a run, and in workflows among them. Their names are of
// this call's own: if somebody else stores the graph, with what may be other payloads, these are never read.
func (s *Store) storeItems(ctx context.Context, run string, steps []workflow.Step) error {
	for i := range steps {
		step := &steps[i]
		for k, data := range step.Items.Documents {
			err := s.publish(ctx, s.itemsSubject(run, step.Payloads, strconv.Itoa(k)), data, 0)
			if err != nil && !errors.Is(err, stream.ErrConflict) { // its own, of which the answer was lost
				return fmt.Errorf("payloads of step %s: %w", step.Name, err)
			}
		}
		if step.Child == nil {
			continue
		}
		if err := s.storeItems(ctx, run, step.Child.Steps); err != nil {
			return err
		}
	}
	return nil
}

// fill publishes the jobs of a group, from where an earlier run of it has come to. So a group is published
// by a job, which somebody else is handed if a worker dies.
func (s *Store) fill(ctx context.Context, r *job.Record) error {
	g, t, m, err := s.groupOf(ctx, r)
	if err != nil || g == nil || t.At(m.Step) != workflow.Pending {
		return err
	}
	root, fresh, err := s.beginGroup(ctx, g, m, t.Since)
	if errors.Is(err, errGone) {
		return nil // a later generation's
	}
	if err != nil {
		return err
	}
	resumed := !fresh || m.Gen > 1
	f := &filler{Store: s, graph: g, member: m, step: &g.Steps[m.Step], again: resumed}
	began := time.Now()
	for k := 0; root.Published < f.step.Jobs; k++ {
		if stopped, err := f.stopped(ctx, root.Published); stopped || err != nil {
			return err
		}
		if time.Since(began) > fillFor {
			return &job.LaterError{Err: errors.New("more jobs are to be published"), Delay: time.Millisecond}
		}
		if root, err = f.publish(ctx, k, &root); err != nil {
			return err
		}
	}
	if !resumed {
		return f.endGroup(ctx, g, m, &root)
	}
	return f.countShards(ctx, &root)
}

// countShards tells the root which shards are full of ends that an earlier generation had, or of what an earlier run
// has skipped that died before it said so: none of their jobs runs, so nobody else does. It does so of a group that
// was repaired, too.
func (f *filler) countShards(ctx context.Context, root *workflow.Root) error {
	for k := range f.step.Layout().Shards() {
		if root.IsFull(k) {
			continue
		}
		shard, _, err := f.readShard(ctx, f.member, f.step.Name, k)
		if err == nil && shard.Gen == f.member.Gen && willFail(f.step, &shard) {
			err = f.tellFailing(ctx, f.member)
		}
		if err == nil && shard.Gen == f.member.Gen {
			err = f.countShard(ctx, f.graph, f.member, k, &shard)
		}
		if err != nil {
			return err
		}
	}
	return f.endGroup(ctx, f.graph, f.member, root)
}

// beginGroup writes the root of a group, unless it is there. It reports whether it did, so that no job of it
// was published before. What was done before generation since is to be done again.
func (s *Store) beginGroup(ctx context.Context, g *workflow.Graph, m workflow.Member, since int) (workflow.Root, bool, error) {
	step := &g.Steps[m.Step]
	var refused stream.Conflicts
	for {
		old, seq, err := s.root(ctx, m.Run, step.Name)
		switch {
		case err != nil && !errors.Is(err, errGone):
			return old, false, err
		case err == nil && old.Gen == m.Gen:
			return old, false, nil
		case err == nil && old.Gen > m.Gen:
			return old, false, errGone
		case err == nil:
			if err := s.retryShards(ctx, m, step, &old, since); err != nil {
				return old, false, err
			}
		}
		root := workflow.Root{Gen: m.Gen}
		root, _ = root.Seal(step.Jobs)
		err = s.publish(ctx, s.rootSubject(m.Run, step.Name), root.Encode(), seq)
		if !errors.Is(err, stream.ErrConflict) {
			return root, err == nil, err
		}
		if err := refused.Wait(ctx); err != nil {
			return root, false, err
		}
	}
}

// retryShards has the jobs of a group pending again that an earlier generation has not done. A group that had
// succeeded and was undone does all again. Each shard has the generation before a job of it is published, so that
// an end of an older one is not counted in it.
func (s *Store) retryShards(ctx context.Context, m workflow.Member, step *workflow.Step, old *workflow.Root, since int) error {
	state, ended := old.End(workflow.ShardJobs, step.Tolerates())
	all := ended && state == workflow.Succeeded || old.Gen < since
	for k := range step.Layout().Shards() {
		shard, seq, err := s.readShard(ctx, m, step.Name, k)
		if err != nil {
			return err
		}
		if shard.Gen >= m.Gen && seq > 0 {
			continue
		}
		next := shard.Retry(m.Gen, all)
		if _, err := s.publishShard(ctx, m.Run, step.Name, k, &next, seq); err != nil {
			return err // a conflict, too: whoever else does the same goes on
		}
	}
	return nil
}

// publishShard stores the bits of a shard if those of a sequence are still the last ones.
func (s *Store) publishShard(ctx context.Context, run, step string, k int, shard *workflow.Shard, seq uint64) (uint64, error) {
	return s.publishMsg(ctx, &nats.Msg{Subject: s.shardSubject(run, step, k), Header: nats.Header{}, Data: shard.Encode()}, seq)
}

// A filler publishes the jobs of a group.
type filler struct {
	*Store
	graph  *workflow.Graph
	member workflow.Member
	step   *workflow.Step
	again  bool         // the next ones may have been published before
	only   map[int]bool // these jobs, by their numbers; nil: all
}

// stopped reports whether nothing more is to be published. What is left of a group that is cancelled is skipped.
func (f *filler) stopped(ctx context.Context, from int) (bool, error) {
	g, t, _, err := f.lookOf(ctx, f.member)
	switch {
	case err != nil:
		return false, err
	case g == nil || t.At(f.member.Step) != workflow.Pending:
		return true, nil
	case !stops(g, &t, f.member.Step):
		return false, nil
	}
	for n := from; n < f.step.Jobs; {
		m := f.member
		m.Job = n
		end := min((n/workflow.ShardJobs+1)*workflow.ShardJobs, f.step.Jobs)
		if err := f.skip(ctx, m, end); err != nil {
			return false, err
		}
		n = end
	}
	root, err := f.changeRoot(ctx, f.member, f.step.Name, func(r *workflow.Root) (workflow.Root, bool) { return r.Publish(f.step.Jobs) })
	if errors.Is(err, errGone) {
		return true, nil
	}
	if err != nil {
		return true, err
	}
	return true, f.countShards(ctx, &root)
}

// skip counts jobs of one shard, from a member on, as skipped.
func (f *filler) skip(ctx context.Context, from workflow.Member, end int) error {
	w := f.shardWriter(from)
	defer f.leaveShard(w)
	ends := make([]heldEnd, 0, end-from.Job)
	for n := from.Job; n < end; n++ {
		ends = append(ends, heldEnd{JobEnd: workflow.JobEnd{At: n % workflow.ShardJobs, State: workflow.Skipped}})
	}
	return w.end(ctx, f.graph, ends...)
}

// items reads a document of payloads.
func (f *filler) items(ctx context.Context, k int) (workflow.ItemsDocument, error) {
	m, err := f.document(ctx, f.itemsSubject(cmp.Or(f.step.PayloadsRun, f.member.Run), f.step.Payloads, strconv.Itoa(k)))
	if err != nil {
		return workflow.ItemsDocument{}, err
	}
	if m == nil {
		return workflow.ItemsDocument{}, &job.PermanentError{Err: fmt.Errorf("payloads %d of step %s are gone", k, f.step.Name)}
	}
	d, err := workflow.DecodeItems(m.Data)
	if err != nil {
		return d, &job.PermanentError{Err: err}
	}
	return d, nil
}

// publish publishes the jobs of a document of payloads that are not yet.
func (f *filler) publish(ctx context.Context, k int, root *workflow.Root) (workflow.Root, error) {
	d, err := f.items(ctx, k)
	if err != nil {
		return *root, err
	}
	end := d.First + len(d.Items)
	if end <= root.Published {
		return *root, nil
	}
	if err := f.publishItems(ctx, &d, root.Published); err != nil {
		return *root, err
	}
	f.again = f.member.Gen > 1
	return f.changeRoot(ctx, f.member, f.step.Name, func(r *workflow.Root) (workflow.Root, bool) { return r.Publish(end) })
}

// publishLost publishes jobs again whose messages are gone, by their numbers, which it takes from lost.
func (f *filler) publishLost(ctx context.Context, lost map[int]bool) error {
	for k := 0; len(lost) > 0; k++ {
		d, err := f.items(ctx, k)
		if err != nil {
			return err
		}
		f.only = lost
		if err := f.publishItems(ctx, &d, d.First); err != nil {
			return err
		}
		for at := range d.Items {
			delete(lost, d.First+at)
		}
	}
	return nil
}

func (f *filler) publishItems(ctx context.Context, d *workflow.ItemsDocument, from int) error {
	var batch []queue.Enqueue
	var members []workflow.Member
	var shard workflow.Shard
	known := -1
	for at := max(from-d.First, 0); at < len(d.Items); at++ {
		m := f.member
		m.Job, m.Again = d.First+at, f.again
		if f.only != nil && !f.only[m.Job] {
			continue
		}
		if k := m.Job / workflow.ShardJobs; f.again && k != known {
			var err error
			if shard, _, err = f.readShard(ctx, m, f.step.Name, k); err != nil {
				return err
			}
			known = k
		}
		if f.again && shard.Gen == m.Gen && shard.At(m.Job%workflow.ShardJobs) != workflow.Pending {
			continue
		}
		e, err := queue.NewEnqueue(jobOfGroup(f.graph.Spec, m, f.step.Name, d.Items[at]))
		if err != nil {
			return err
		}
		e.Once = true
		batch, members = append(batch, e), append(members, m)
	}
	for i, err := range f.queues.EnqueueMany(ctx, batch) {
		if _, taken := errors.AsType[*queue.DuplicateError](err); taken {
			err = f.publishAnyway(ctx, batch[i], members[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// publishAnyway publishes a job of whose id another one is there: one of an older generation is on its way out,
// and with any other one it counts as failed.
func (f *filler) publishAnyway(ctx context.Context, e queue.Enqueue, m workflow.Member) error {
	err := f.enqueueInPlace(ctx, e, func(life string) (bool, error) {
		for g := 1; g < m.Gen; g++ {
			if isOf(life, workflow.GroupLife(m.Run, g, m.Step, m.Job)) {
				return true, nil
			}
		}
		return false, nil
	})
	duplicate, taken := errors.AsType[*queue.DuplicateError](err)
	if !taken {
		return err
	}
	f.log.ErrorContext(ctx, "a job of a group counts as failed: another job has its id", slog.String("id", e.Record.ID), slog.Any("err", duplicate))
	return f.arriveInGroup(ctx, m, stepEnd{state: workflow.Failed})
}

// jobOfGroup is a job of a group, whose step has a name.
func jobOfGroup(spec *workflow.Spec, m workflow.Member, step string, payload []byte) *job.Record {
	r := stepRecord(spec, m.Gen, m.Step)
	r.ID, r.Life = workflow.GroupJobID(m.ID, step, m.Job), workflow.GroupLife(m.Run, m.Gen, m.Step, m.Job)
	r.Workflow, r.Payload = m.String(), payload
	return r
}
