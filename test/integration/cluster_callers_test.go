package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

// On a cluster of three, callers store batches, cancel jobs and requeue dead ones while the leader of the
// queue is killed. A batch is there whole or not at all, a job that was cancelled has ended as that and has
// not run, and each dead job goes on in one life, whoever asked for it.
func TestCallersAcrossAnElection(t *testing.T) {
	t.Parallel()
	const jobs = 40
	nodes := startCluster(t, func(string) {})
	all := urls(nodes)
	c := newClient(t, all)
	until(t, "jobs are taken", func() bool {
		_, err := c.Enqueue(t.Context(), millhand.Raw{Name: "flaky"}, millhand.WithID("0"))
		return err == nil || errors.Is(err, millhand.ErrDuplicate)
	})
	batch := func(typ string, n int) []millhand.Request {
		var batch []millhand.Request
		for i := range n {
			batch = append(batch, millhand.Request{Args: millhand.Raw{Name: typ}, Options: []millhand.EnqueueOption{millhand.WithID(strconv.Itoa(i))}})
		}
		return batch
	}
	if _, err := c.EnqueueMany(t.Context(), batch("flaky", jobs)[1:]); err != nil {
		t.Fatal(err)
	}
	ready, err := c.EnqueueMany(t.Context(), batch("waits", jobs))
	if err != nil {
		t.Fatal(err)
	}
	later := batch("later", jobs)
	for i := range later {
		later[i].Options = append(later[i].Options, millhand.WithDelay(time.Hour))
	}
	scheduled, err := c.EnqueueMany(t.Context(), later)
	if err != nil {
		t.Fatal(err)
	}
	ran := runFlaky(t, all)
	until(t, "all that is flaky is dead", func() bool {
		n, err := c.CountDead(t.Context(), millhand.DeadFilter{})
		return err == nil && n == jobs
	})

	var callers sync.WaitGroup
	var halfway sync.WaitGroup
	halfway.Add(4)
	var batches sync.Map // by type: whether it is known to be stored
	callers.Go(func() {
		for n := range 6 {
			typ := fmt.Sprintf("atomic%d", n)
			_, err := newClient(t, all).EnqueueAtomic(t.Context(), batch(typ, jobs))
			batches.Store(typ, err == nil)
			if n == 2 {
				halfway.Done()
			}
		}
	})
	callers.Go(func() { cancelEach(t, newClient(t, all), slices.Concat(ready, scheduled), halfway.Done) })
	for range 2 {
		callers.Go(func() { requeueEach(t, newClient(t, all), halfway.Done) })
	}
	halfway.Wait()
	killed := killLeader(t, nodes, "millhand-queue-default")
	callers.Wait()
	killed.start(t)

	there := make(map[string]int)
	var stored []millhand.Ref
	for info, err := range c.Jobs(t.Context(), millhand.JobFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := batches.Load(info.Type); ok {
			there[info.Type]++
			stored = append(stored, info.Ref)
		}
	}
	for typ, known := range batches.Range {
		if n := there[typ.(string)]; n != jobs && (n > 0 || known.(bool)) {
			t.Errorf("of %s, which was known to be stored: %v, there are %d jobs of %d", typ, known, n, jobs)
		}
	}
	for _, err := range c.CancelMany(t.Context(), millhand.JobFilter{}) {
		if err != nil {
			t.Error(err)
		}
	}
	events := conserved(t, all, slices.Concat(ready, scheduled, stored))
	for _, ref := range slices.Concat(ready, scheduled) {
		if last := events[ref][len(events[ref])-1]; last.State != millhand.Cancelled {
			t.Errorf("%+v was cancelled, and is %s", ref, last.State)
		}
	}
	lives := make(map[string]int)
	for ref, of := range events {
		if ref.Type == "flaky" && of[len(of)-1].State == millhand.Succeeded {
			lives[ref.ID]++
		}
	}
	want := make(map[string]int)
	for i := range jobs {
		want[strconv.Itoa(i)] = 1
	}
	if !maps.Equal(lives, want) {
		t.Errorf("lives that came of the dead jobs, by id: %v", lives)
	}
	if n := ran.Load(); n > 0 {
		t.Errorf("%d jobs ran that were cancelled", n)
	}
}

// runFlaky starts a worker on which jobs of the type fail, unless they are requeued, and counts the others.
func runFlaky(t *testing.T, url string) (others *atomic.Int64) {
	t.Helper()
	others = new(atomic.Int64)
	mux := millhand.NewMux()
	mux.HandleFunc("flaky", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		if j.Life[:2] == "q-" {
			return nil, nil
		}
		return nil, millhand.Permanent(errors.New("the first life"))
	})
	mux.HandleFunc("later", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		others.Add(1)
		return nil, nil
	})
	runWorker(t, url, millhand.WorkerConfig{Mux: mux})
	return others
}

// cancelEach cancels jobs one by one, each until that is answered, and calls halfway after half of them.
func cancelEach(t *testing.T, c *millhand.Client, refs []millhand.Ref, halfway func()) {
	t.Helper()
	for i, ref := range refs {
		if i == len(refs)/2 {
			halfway()
		}
		until(t, "the cancel is answered", func() bool {
			done, err := c.Cancel(t.Context(), ref)
			if done.Worker != "" {
				t.Errorf("%+v runs, though it waits for nobody or for an hour", ref)
			}
			finished, ended := errors.AsType[*millhand.FinishedError](err)
			return err == nil || ended && finished.State == millhand.Cancelled
		})
	}
}

// requeueEach requeues all that is dead, and calls halfway once some is.
func requeueEach(t *testing.T, c *millhand.Client, halfway func()) {
	t.Helper()
	halfway = sync.OnceFunc(halfway)
	until(t, "nothing is dead", func() bool {
		for _, err := range c.RequeueDead(t.Context(), millhand.DeadFilter{}, millhand.RequeueConfig{}) {
			if err == nil {
				halfway()
			}
		}
		n, err := c.CountDead(t.Context(), millhand.DeadFilter{})
		if err == nil && n == 0 {
			halfway() // the other one was faster
		}
		return err == nil && n == 0
	})
}
