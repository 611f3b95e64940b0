package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// job is the book's job as a child: it tries its work, and again after a delay, up to a number of
// retries. Its errors are its own affair; a panic is its supervisor's.
type job struct {
	id         string
	work       func() error
	maxRetries int
	delay      time.Duration
	recorder
}

// starts counts how often the job was started.
func (j *job) starts() int {
	starts := 0
	for _, e := range j.recorded() {
		if e == event("job_start", j.id) {
			starts++
		}
	}
	return starts
}

// runReady has the wanted side effect of an init: a job that cannot work does not start.
func (j *job) runReady(ctx context.Context, ready func()) error {
	if j.work == nil {
		return errors.New("key work not found")
	}
	ready()
	j.record("job_start", j.id)
	if err := j.work(); err != nil {
		j.record("errored")
		return j.retry(ctx)
	}
	j.record("completed")
	j.record("job_exiting", "done", 0)
	return nil
}

// retry compares before it schedules, so that no retries means none.
func (j *job) retry(ctx context.Context) error {
	for retries := 1; retries <= j.maxRetries; retries++ {
		select {
		case <-time.After(j.delay):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := j.work(); err == nil {
			j.record("completed")
			j.record("job_exiting", "done", retries-1) // those that failed
			return nil
		}
		j.record("retry_failed")
	}
	j.record("job_exiting", "failed", j.maxRetries)
	return nil
}

func (j *job) child(r Restart) Child {
	return Child{Name: "job", RunReady: j.runReady, Restart: r}
}

// supervisor isolates the job: what becomes of it concerns nobody else, and when it has ended so
// has its supervisor.
func (j *job) supervisor(t *testing.T, maxRestarts int) Child {
	t.Helper()
	c := j.child(Transient)
	c.Significant = true
	sup, err := New(Spec{
		Name: "job", MaxRestarts: new(maxRestarts), Within: time.Hour, AutoShutdown: AnySignificant, Children: []Child{c},
	})
	if err != nil {
		t.Fatal(err)
	}
	return Child{Name: "job supervisor", Part: sup, Restart: Temporary}
}

// newRunner is the dynamic supervisor of all jobs, below a supervisor that replaces it.
func newRunner(t *testing.T, maxRestarts int) (*Dynamic, *Supervisor) {
	t.Helper()
	runner, err := NewDynamic(DynamicSpec{Name: "runner", MaxRestarts: new(maxRestarts), Within: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	sup, err := New(Spec{Name: "app", Children: []Child{{Name: "runner", Part: runner}}})
	if err != nil {
		t.Fatal(err)
	}
	start(t, sup)
	return runner, sup
}

func playJob(t *testing.T, c testCase) {
	s := decode[struct {
		MaxRetries int `json:"max_retries"`
		DelayMS    int `json:"retry_delay_ms"`
	}](t, c.Setup)
	id, failures := "b", 1000
	if strings.HasPrefix(c.ID, "job-flaky") {
		id, failures = "f", 2
	}
	j := &job{id: id, maxRetries: s.MaxRetries, delay: time.Duration(s.DelayMS) * time.Millisecond, work: func() error {
		if failures == 0 {
			return nil
		}
		failures--
		return errBoom
	}}
	runner, _ := newRunner(t, 3)
	if err := runner.Start(j.supervisor(t, 3)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	want := decode[struct{ Events []caseEvent }](t, c.Expect).Events
	if c.Verdict == "avoid" { // the book's job without retries never ends
		want = []caseEvent{event("job_start", "b"), event("errored"), event("job_exiting", "failed", 0)}
	}
	if diff := cmp.Diff(want, j.recorded()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// playJobLoop: what runs to completion is transient, and so is not repeated.
func playJobLoop(t *testing.T, _ testCase) {
	j := &job{id: "g", work: func() error { return nil }}
	runner, sup := newRunner(t, 3)
	if err := runner.Start(j.child(Transient)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if j.starts() != 1 || sup.Tree().Children[0].Restarts != 0 {
		t.Errorf("starts = %d, runner replaced %d times, want 1, 0", j.starts(), sup.Tree().Children[0].Restarts)
	}
}

// playDoomedJob panics in a job: isolated, it ends nothing but its own supervisor. Directly below
// the runner it would use the restarts of all, so the two cases are the same in Go.
func playDoomedJob(t *testing.T, c testCase) {
	maxRestarts := decode[struct {
		MaxRestarts int `json:"max_restarts"`
	}](t, c.Setup).MaxRestarts
	starts := decode[struct {
		Starts int `json:"doomed_starts"`
	}](t, c.Expect).Starts
	long := &job{id: "long", work: func() error { time.Sleep(time.Hour); return nil }}
	doomed := &job{id: "doomed", work: func() error { panic("doomed") }}
	runner, sup := newRunner(t, maxRestarts)
	for _, j := range []*job{long, doomed} {
		if err := runner.Start(j.supervisor(t, maxRestarts)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Minute)
	if doomed.starts() != starts {
		t.Errorf("starts of the doomed job = %d, want %d", doomed.starts(), starts)
	}
	tree := sup.Tree().Children[0]
	if tree.Restarts != 0 || len(tree.Children) != 1 || tree.Children[0].Kind != KindSupervisor {
		t.Errorf("runner = %+v, want it never restarted, with the long job's supervisor", tree)
	}
	if diff := cmp.Diff([]caseEvent{event("job_start", "long")}, long.recorded()); diff != "" {
		t.Errorf("events of the long job (-want +got):\n%s", diff)
	}
	time.Sleep(time.Hour) // the long job does not heed its context
}

func playJobLeak(t *testing.T, c testCase) {
	want := decode[struct {
		GoExpect struct {
			Children int `json:"runner_children"`
		} `json:"go_expect"`
	}](t, c.Expect).GoExpect.Children
	runner, _ := newRunner(t, 3)
	for range 3 {
		j := &job{id: "g", work: func() error { return nil }}
		if err := runner.Start(j.supervisor(t, 3)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	if got := len(runner.Tree().Children); got != want {
		t.Errorf("children = %d, want %d", got, want)
	}
}

// playJobIdentity: the id is given to a job when it is made, and a restart is of the same job.
func playJobIdentity(t *testing.T, _ testCase) {
	j := &job{id: "fixed", work: func() error { panic("doomed") }}
	runner, _ := newRunner(t, 3)
	if err := runner.Start(j.supervisor(t, 3)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	ids := slices.Compact(j.recorded())
	if diff := cmp.Diff([]caseEvent{event("job_start", "fixed")}, ids); diff != "" || j.starts() != 4 {
		t.Errorf("ids of %d starts (-want +got):\n%s", j.starts(), diff)
	}
}

func playJobWithoutWork(t *testing.T, c testCase) {
	runner, _ := newRunner(t, 3)
	err := runner.StartReady(t.Context(), (&job{}).supervisor(t, 3))
	failed, ok := errors.AsType[*StartError](err)
	if !ok || !strings.Contains(err.Error(), "key work not found") {
		t.Errorf("StartReady = %v, want the error of %s", err, c.Expect)
	} else if inner, ok := errors.AsType[*StartError](failed.Err); !ok || inner.Child != "job" {
		t.Errorf("StartReady = %v, want it to name the job", err)
	}
	synctest.Wait()
	if got := runner.Tree().Children; len(got) != 0 {
		t.Errorf("children = %v, want none", got)
	}
}
