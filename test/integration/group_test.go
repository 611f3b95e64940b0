package integration

import (
	"strconv"
	"strings"
	"testing"

	"github.com/millhand/millhand"
)

// Workers are killed one after the other while a group runs: each job of it is counted once, and what comes
// behind the group begins once, behind the last of them.
func TestGroupWhoseWorkersAreKilled(t *testing.T) {
	t.Parallel()
	const jobs = 200
	b := startBroker(t)
	work := func() *process {
		return startWorker(t, b.URL, "--exec", "row=sh -c 'sleep 0.02; cat'", "--exec", "sum=cat", "-c", "4", "--ack-wait", "1s")
	}
	workers := []*process{work(), work()}
	c := newClient(t, b.URL)
	w := millhand.NewWorkflow("killed", millhand.WorkflowConfig{ID: "killed"})
	load := w.Group("load", func(yield func(millhand.Args) bool) {
		for n := range jobs {
			if !yield(millhand.Raw{Name: "row", Payload: []byte(strconv.Itoa(n))}) {
				return
			}
		}
	}, millhand.KeepResults())
	w.Step("sum", millhand.Raw{Name: "sum", Payload: []byte("1")}, millhand.After(load))
	ref, err := c.Start(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	group := func() millhand.StepInfo {
		info, err := c.GetWorkflow(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		return info.Steps[0]
	}
	for kill := range 3 {
		until(t, "more of the group to end", func() bool { return group().Done > (kill+1)*jobs/5 })
		workers[0].kill(t)
		workers = append(workers[1:], work())
	}
	info, err := c.Await(t.Context(), ref)
	if err != nil || info.State != millhand.Succeeded {
		t.Errorf("ended as %s: %v", info.State, err)
	}
	if got := group(); got.State != millhand.StepSucceeded || got.Done != jobs || got.Failed != 0 {
		t.Errorf("the group: %+v", got)
	}
	last, err := c.Get(t.Context(), millhand.Ref{ID: "killed--sum", Type: "sum", Queue: ref.Queue})
	if err != nil {
		t.Fatal(err)
	}
	for n := range jobs {
		j, err := c.Get(t.Context(), millhand.Ref{ID: "killed--load--" + strconv.Itoa(n), Type: "row", Queue: ref.Queue})
		if err != nil || j.State != millhand.Succeeded || strings.TrimSpace(string(j.Output())) != strconv.Itoa(n) || j.FinishedAt.After(last.StartedAt) {
			t.Errorf("job %d is %s, returned %s, and ended at %v; the step behind began at %v: %v", n, j.State, j.Output(), j.FinishedAt, last.StartedAt, err)
		}
	}
}
