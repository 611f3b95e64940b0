package arrival

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/workflow"
)

// groupOf starts a workflow of one group, and returns its graph and its jobs.
func (b *bench) groupOf(t *testing.T, jobs int, keep bool) (*workflow.Spec, []*job.Record) {
	t.Helper()
	run := strings.Repeat("0", 32)
	spec := &workflow.Spec{ID: "w", Run: run, Gen: 1, Name: "w", Queue: "default", Steps: []workflow.Step{
		{Name: "g", Kind: workflow.KindGroup, Type: "t", Jobs: jobs, KeepResults: keep},
	}}
	if err := b.Start(t.Context(), spec, 0); err != nil {
		t.Fatal(err)
	}
	g, err := workflow.NewGraph(spec)
	if err != nil {
		t.Fatal(err)
	}
	root := workflow.Member{ID: "w", Run: run, Gen: 1, Step: 0, Job: -1}
	if _, _, err := b.beginGroup(t.Context(), g, root, 0); err != nil {
		t.Fatal(err)
	}
	records := make([]*job.Record, jobs)
	for n := range records {
		m := root
		m.Job = n
		r := stepRecord(spec, 1, 0)
		r.ID, r.Life, r.Workflow = workflow.GroupJobID("w", "g", n), workflow.GroupLife(run, 1, 0, n), m.String()
		records[n] = r
	}
	return spec, records
}

func endsOf(records []*job.Record) []queue.StepEnd {
	ends := make([]queue.StepEnd, len(records))
	for i, r := range records {
		ends[i] = queue.StepEnd{Record: r, Result: []byte(strconv.Itoa(i))}
	}
	return ends
}

// Ends that come together are one write for each shard, also while other workers write the same ones, and the last
// of them ends the group.
func TestEndsOfAGroupAreCountedTogether(t *testing.T) {
	for _, keep := range []bool{false, true} {
		natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
			const jobs = workflow.ShardJobs + 100
			b := newBench(t, server)
			spec, records := b.groupOf(t, jobs, keep)
			var shards, results atomic.Int64
			b.link.Watch(func(s string) natstest.Fate {
				switch {
				case strings.HasPrefix(s, b.rootSubject(spec.Run, "g")+"."):
					shards.Add(1)
				case strings.HasPrefix(s, b.outSubject(spec.Run, "g")):
					results.Add(1)
				}
				return natstest.Pass
			})
			for _, r := range records {
				if !b.Together(r) {
					t.Fatalf("%s is not counted with others", r.ID)
				}
			}
			other := newBench(t, server)
			half := jobs / 2
			var counting sync.WaitGroup
			count := func(s *Store, part []*job.Record) {
				for _, err := range s.ArriveTogether(context.Background(), endsOf(part)) {
					if err != nil {
						t.Error(err)
					}
				}
			}
			counting.Go(func() { count(other.Store, records[:half]) })
			count(b.Store, records[half:])
			count(b.Store, records[half:]) // again, since the ack was lost
			counting.Wait()
			if n := shards.Load(); n < 2 || n > 4 {
				t.Errorf("%d writes of shards", n)
			}
			if n := results.Load(); keep && n < int64(jobs-half) || !keep && n > 0 {
				t.Errorf("%d writes of results", n)
			}
			tally, _, err := b.tally(t.Context(), spec.Run)
			if err != nil || tally.At(0) != workflow.Succeeded {
				t.Errorf("the group is %v: %v", tally.At(0), err)
			}
		})
	}
}

// What is not counted together: the job of a step, of no workflow, and a workflow's own.
func TestWhatIsCountedTogether(t *testing.T) {
	s := new(Store)
	for member, together := range map[string]bool{
		"": false, "w/r/1/0": false, "w/r/1/0/7": true, "w/r/1/0/7/again": true, "w/r/1/0/again": false,
	} {
		if got := s.Together(&job.Record{Type: "t", Workflow: member}); got != together {
			t.Errorf("%q: %v", member, got)
		}
		if s.Together(&job.Record{Type: job.WorkflowType, Workflow: member}) {
			t.Errorf("%q of the reserved type is", member)
		}
	}
}

// The jobs of a group that start within a second look once how far their workflow has come.
func TestJobsOfAGroupLookOnce(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		b := newBench(t, server)
		_, records := b.groupOf(t, 100, false)
		var reads atomic.Int64
		b.link.Watch(func(s string) natstest.Fate {
			if strings.Contains(s, ".MSG.GET.") {
				reads.Add(1)
			}
			return natstest.Pass
		})
		var starting sync.WaitGroup
		for _, r := range records {
			starting.Go(func() {
				if instead, err := b.Instead(t.Context(), r); err != nil || instead != nil {
					t.Errorf("%s: %v, %v", r.ID, instead, err)
				}
			})
		}
		starting.Wait()
		if n := reads.Load(); n > 2 {
			t.Errorf("%d reads", n)
		}
	})
}
