package supervisor

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTaskCases(t *testing.T) {
	runCases(t, "task.json", []caseTest{
		{"task-await-timeout-uncaught", playAwaitUncaught},
		{"task-await-timeout-caught", playAwaitCaught},
		{"task-await-owner-only", playAwaitAnywhere},
		{"task-yield-infinity", playPollForever},
		{"task-await-crash-nolink", playAwaitCrash},
		{"task-shutdown-already-replied", playStopEnded},
		{"task-shutdown-grace-completes", playStopGrace},
		{"task-shutdown-grace-expires", playStopExpires},
		{"task-shutdown-crashed", playStopCrashed},
		{"task-yield-or-shutdown", playPollOrStop},
		{"task-links", playLinks},
		{"task-await-many", playAwaitAll},
		{"task-yield-many", playPollAll},
		{"task-supervisor-max-children", playMaxChildren},
		{"task-supervisor-restart", playTaskRestart},
		{"task-default-timeouts", playTimeouts},
		{"astream-ordered-max-concurrency", playConcurrency},
		{"astream-ordered-reversed-durations", playDurations},
		{"astream-unordered", playDurations},
		{"astream-timeout-exit", playDurations},
		{"astream-timeout-kill", playDurations},
		{"astream-timeout-per-item", playConcurrency},
		{"astream-slow-head", playSlowHead},
		{"astream-nolink", playIsolated},
		{"astream-lazy-halt", playHalt},
		{"astream-empty", playEmpty},
	})
}

func startDynamic(t *testing.T, spec DynamicSpec) (*Dynamic, *running) {
	t.Helper()
	spec.Name = "tasks"
	d, err := NewDynamic(spec)
	if err != nil {
		t.Fatal(err)
	}
	return d, start(t, d)
}

// childrenOf counts the children when all is quiet: one that has delivered its result may still be
// leaving.
func childrenOf(d *Dynamic) int {
	synctest.Wait()
	return len(d.Tree().Children)
}

// async starts a task or fails the test.
func async[T any](t *testing.T, d *Dynamic, f func(context.Context) (T, error)) *Task[T] {
	t.Helper()
	task, err := Async(d, "task", f)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// after returns a task function that takes a while, unless it is stopped.
func after[T any](d time.Duration, v T) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		if err := sleep(ctx, d); err != nil {
			var zero T
			return zero, err
		}
		return v, nil
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const ms = time.Millisecond

func milliseconds(n int) time.Duration { return time.Duration(n) * ms }

// playAwaitUncaught: whoever links a task to its own context and ends with the timeout takes the
// task along.
func playAwaitUncaught(t *testing.T, c testCase) {
	takes := milliseconds(decode[struct {
		MS int `json:"task_ms"`
	}](t, c.Setup).MS)
	d, _ := startDynamic(t, DynamicSpec{})
	done := false
	caller := func() error {
		ctx, fail := context.WithCancelCause(t.Context())
		defer fail(nil)
		task, err := Linked(ctx, fail, d, "task", func(ctx context.Context) (int, error) {
			if err := sleep(ctx, takes); err != nil {
				return 0, err
			}
			done = true
			return 1, nil
		})
		if err != nil {
			return err
		}
		await, cancel := context.WithTimeout(ctx, 50*ms)
		defer cancel()
		_, err = task.Await(await)
		return err
	}
	if err := caller(); !errors.Is(err, ErrTimeout) {
		t.Errorf("caller = %v, want %v", err, ErrTimeout)
	}
	synctest.Wait()
	if n := childrenOf(d); n != 0 || done {
		t.Errorf("tasks = %d, side effect done = %t, want 0, false", n, done)
	}
}

// playAwaitCaught: giving up to wait does not stop the task, and its result can be fetched later.
func playAwaitCaught(t *testing.T, c testCase) {
	takes := milliseconds(decode[struct {
		MS int `json:"task_ms"`
	}](t, c.Setup).MS)
	d, _ := startDynamic(t, DynamicSpec{})
	task := async(t, d, after(takes, 7))
	ctx, cancel := context.WithTimeout(t.Context(), 30*ms)
	defer cancel()
	if _, err := task.Await(ctx); !errors.Is(err, ErrTimeout) {
		t.Errorf("first Await = %v, want %v", err, ErrTimeout)
	}
	if task.Poll(0).Done {
		t.Error("the task has ended, want it running")
	}
	time.Sleep(300 * ms)
	for range 2 {
		if got, err := task.Await(t.Context()); got != 7 || err != nil {
			t.Errorf("Await = %d, %v, want 7", got, err)
		}
	}
}

// playAwaitAnywhere: a task is a value that anybody may wait for.
func playAwaitAnywhere(t *testing.T, _ testCase) {
	d, _ := startDynamic(t, DynamicSpec{})
	task := async(t, d, after(ms, 7))
	other := async(t, d, task.Await)
	if got, err := other.Await(t.Context()); got != 7 || err != nil {
		t.Errorf("Await elsewhere = %d, %v, want 7", got, err)
	}
}

func playPollForever(t *testing.T, c testCase) {
	want := decode[struct{ Result []any }](t, c.Expect).Result[1]
	d, _ := startDynamic(t, DynamicSpec{})
	if o := async(t, d, after(time.Hour, 7.0)).Poll(Forever); !o.Done || o.Value != want || o.Err != nil {
		t.Errorf("Poll = %+v, want %v", o, want)
	}
}

func playAwaitCrash(t *testing.T, _ testCase) {
	d, r := startDynamic(t, DynamicSpec{})
	task := async(t, d, func(context.Context) (int, error) { panic(errBoom) })
	if _, err := task.Await(t.Context()); !errors.Is(err, errBoom) {
		t.Errorf("Await = %v, want %v", err, errBoom)
	}
	r.expectAlive()
}

func playStopEnded(t *testing.T, c testCase) {
	want := decode[struct{ Result []any }](t, c.Expect).Result[1]
	d, _ := startDynamic(t, DynamicSpec{})
	task := async(t, d, after(0, 42.0))
	synctest.Wait()
	if got, err := task.Stop(DefaultTimeout); got != want || err != nil {
		t.Errorf("Stop = %v, %v, want %v", got, err, want)
	}
}

func playStopGrace(t *testing.T, c testCase) {
	want := decode[struct{ Result []any }](t, c.Expect).Result[1]
	d, _ := startDynamic(t, DynamicSpec{})
	task := async(t, d, func(context.Context) (string, error) {
		time.Sleep(time.Second)
		return "finished_in_grace", nil
	})
	if got, err := task.Stop(2 * time.Second); got != want || err != nil {
		t.Errorf("Stop = %q, %v, want %q", got, err, want)
	}
}

// playStopExpires: a goroutine cannot be killed, so the task is abandoned.
func playStopExpires(t *testing.T, _ testCase) {
	d, _ := startDynamic(t, DynamicSpec{})
	task := async(t, d, func(context.Context) (int, error) {
		time.Sleep(time.Minute)
		return 1, nil
	})
	if _, err := task.Stop(time.Second); !errors.Is(err, ErrStopTimeout) {
		t.Errorf("Stop = %v, want %v", err, ErrStopTimeout)
	}
	if n, abandoned := childrenOf(d), d.Abandoned(); n != 0 || abandoned != 1 {
		t.Errorf("tasks = %d, abandoned = %d, want 0, 1", n, abandoned)
	}
	time.Sleep(time.Minute)
	if got := d.Abandoned(); got != 0 {
		t.Errorf("abandoned = %d in the end, want 0", got)
	}
}

func playStopCrashed(t *testing.T, _ testCase) {
	d, _ := startDynamic(t, DynamicSpec{})
	task := async(t, d, func(context.Context) (int, error) { return 0, errBoom })
	synctest.Wait()
	if _, err := task.Stop(DefaultTimeout); !errors.Is(err, errBoom) {
		t.Errorf("Stop = %v, want %v", err, errBoom)
	}
}

func playPollOrStop(t *testing.T, c testCase) {
	d, _ := startDynamic(t, DynamicSpec{})
	pollOrStop := func(task *Task[string]) any {
		if o := task.Poll(50 * ms); o.Done {
			return []any{"ok", o.Value}
		}
		if _, err := task.Stop(DefaultTimeout); !errors.Is(err, ErrShutdown) {
			t.Errorf("Stop = %v, want %v", err, ErrShutdown)
		}
		return nil
	}
	got := []any{pollOrStop(async(t, d, after(10*ms, "done"))), pollOrStop(async(t, d, after(time.Hour, "late")))}
	if diff := cmp.Diff(decode[struct{ Results []any }](t, c.Expect).Results, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	synctest.Wait()
	if n := childrenOf(d); n != 0 {
		t.Errorf("tasks = %d, want 0", n)
	}
}

// playLinks: a link is a context. A linked task fails its caller's and is cancelled with it; an
// isolated one is neither.
func playLinks(t *testing.T, _ testCase) {
	d, r := startDynamic(t, DynamicSpec{})
	crash := func(context.Context) (int, error) { panic(errBoom) }
	long := after(time.Hour, 1)

	ctx, fail := context.WithCancelCause(t.Context())
	sibling, err := Linked(ctx, fail, d, "sibling", long)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Linked(ctx, fail, d, "crash", crash); err != nil {
		t.Fatal(err)
	}
	if _, err := sibling.Await(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("sibling = %v, want it cancelled", err)
	}
	if !errors.Is(context.Cause(ctx), errBoom) {
		t.Errorf("caller ended with %v, want %v", context.Cause(ctx), errBoom)
	}

	ctx, fail = context.WithCancelCause(t.Context())
	async(t, d, crash)
	linked, err := Linked(ctx, fail, d, "linked", long)
	if err != nil {
		t.Fatal(err)
	}
	isolated := async(t, d, long)
	synctest.Wait()
	if ctx.Err() != nil {
		t.Errorf("caller ended with %v because of an isolated task", context.Cause(ctx))
	}
	fail(errBoom)
	synctest.Wait()
	if !linked.Poll(0).Done || isolated.Poll(0).Done {
		t.Errorf("after the end of the caller: linked = %+v, isolated = %+v", linked.Poll(0), isolated.Poll(0))
	}
	stopped, err := Linked(t.Context(), func(err error) { t.Errorf("stopping a linked task failed its caller: %v", err) }, d, "stopped", long)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stopped.Stop(DefaultTimeout); !errors.Is(err, ErrShutdown) {
		t.Errorf("Stop = %v, want %v", err, ErrShutdown)
	}
	r.expectAlive()
}

func playAwaitAll(t *testing.T, c testCase) {
	durations := decode[struct {
		MS []int `json:"durations_ms"`
	}](t, c.Setup).MS
	first := decode[struct {
		First struct {
			Result []int
			Below  int `json:"total_below_ms"`
		}
	}](t, c.Expect).First
	d, _ := startDynamic(t, DynamicSpec{})
	await := func(timeout time.Duration, durations ...int) ([]int, error) {
		var tasks []*Task[int]
		for _, n := range durations {
			tasks = append(tasks, async(t, d, after(milliseconds(n), n)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		return AwaitAll(ctx, tasks...)
	}
	begin := time.Now()
	got, err := await(500*ms, durations...)
	if diff := cmp.Diff(first.Result, got); diff != "" || err != nil {
		t.Errorf("results (-want +got):\n%s\n%v", diff, err)
	}
	if total := time.Since(begin); total >= milliseconds(first.Below) {
		t.Errorf("total = %v, want less than %d ms", total, first.Below)
	}
	if _, err := await(60*ms, 10, 300); !errors.Is(err, ErrTimeout) {
		t.Errorf("AwaitAll = %v, want %v", err, ErrTimeout)
	}
}

func playPollAll(t *testing.T, c testCase) {
	d, _ := startDynamic(t, DynamicSpec{})
	var tasks []*Task[float64]
	for _, n := range decode[struct {
		MS []int `json:"durations_ms"`
	}](t, c.Setup).MS {
		tasks = append(tasks, async(t, d, after(milliseconds(n), float64(n))))
	}
	var got []any
	for _, o := range PollAll(100*ms, tasks...) {
		if o.Done && o.Err == nil {
			got = append(got, []any{"ok", o.Value})
		} else {
			got = append(got, nil)
		}
	}
	if diff := cmp.Diff(decode[struct{ Results []any }](t, c.Expect).Results, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func playMaxChildren(t *testing.T, c testCase) {
	limit := decode[struct {
		MaxChildren int `json:"max_children"`
	}](t, c.Setup).MaxChildren
	want := decode[struct{ Results []string }](t, c.Expect).Results
	d, _ := startDynamic(t, DynamicSpec{MaxChildren: limit})
	var got []string
	for range want {
		_, err := Async(d, "task", after(time.Hour, 1))
		switch {
		case err == nil:
			got = append(got, "ok")
		case errors.Is(err, ErrMaxChildren):
			got = append(got, "error max_children")
		default:
			got = append(got, err.Error())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
}

func playTaskRestart(t *testing.T, c testCase) {
	limit := decode[struct {
		MaxRestarts int `json:"max_restarts"`
	}](t, c.Setup).MaxRestarts
	expect := decode[struct {
		Temporary int    `json:"temporary_runs"`
		Transient int    `json:"transient_runs"`
		SupExit   string `json:"sup_exit"`
	}](t, c.Expect)
	d, r := startDynamic(t, DynamicSpec{MaxRestarts: new(limit)})
	var runs atomic.Int64
	crash := func(context.Context) (int, error) {
		runs.Add(1)
		return 0, errBoom
	}
	async(t, d, crash)
	r.expectAlive()
	if got := int(runs.Swap(0)); got != expect.Temporary {
		t.Errorf("runs of a task = %d, want %d", got, expect.Temporary)
	}
	err := d.Start(Child{Name: "transient", Restart: Transient, Run: func(ctx context.Context) error {
		_, err := crash(ctx)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.expectExit(expect.SupExit)
	if got := int(runs.Load()); got != expect.Transient {
		t.Errorf("runs of a transient child = %d, want %d", got, expect.Transient)
	}
}

func playTimeouts(t *testing.T, c testCase) {
	expect := decode[struct {
		Await    int `json:"await_ms"`
		Yield    int `json:"yield_ms"`
		Shutdown int `json:"shutdown_ms"`
		Item     int `json:"async_stream_item_ms"`
	}](t, c.Expect)
	d, _ := startDynamic(t, DynamicSpec{})
	stubborn := func() *Task[int] {
		return async(t, d, func(context.Context) (int, error) { time.Sleep(time.Minute); return 1, nil })
	}
	for what, test := range map[string]struct {
		wait func()
		want int
	}{
		"Await":  {func() { _, _ = stubborn().Await(t.Context()) }, expect.Await},
		"Poll":   {func() { stubborn().Poll(DefaultTimeout) }, expect.Yield},
		"Stop":   {func() { _, _ = stubborn().Stop(DefaultTimeout) }, expect.Shutdown},
		"Stream": {func() { collect(t, d, items(1), after1(time.Minute), StreamOptions{}) }, expect.Item},
	} {
		begin := time.Now()
		test.wait()
		if got := int(time.Since(begin).Milliseconds()); got != test.want {
			t.Errorf("%s waits %d ms, want %d", what, got, test.want)
		}
	}
	time.Sleep(time.Minute)
}
