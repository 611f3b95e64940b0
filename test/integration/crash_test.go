package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand"
)

// wantKinds wants the events of a job to be these. With a lease of seconds, a worker that has no processor time for as
// long ends the job's command and hands it back, as often as that happens.
func wantKinds(t *testing.T, events []millhand.Event, want ...string) {
	t.Helper()
	told := slices.DeleteFunc(slices.Clone(events), func(e millhand.Event) bool {
		return e.Kind == millhand.EventHandedBack && strings.Contains(e.Error, "lease")
	})
	if diff := cmp.Diff(want, kinds(told)); diff != "" {
		t.Errorf("events (-want +got):\n%s%+v", diff, events)
	}
}

func TestKilledWorkersJobRunsElsewhere(t *testing.T) {
	t.Parallel()
	const ackWait = 2 * time.Second
	b, s := startBroker(t), newSite(t)
	first := startWorker(t, b.URL, "-f", s.config, "--ack-wait", ackWait.String())
	ref := enqueue(t, b.URL, "visit")[0]
	s.next(t)
	startWorker(t, b.URL, "-f", s.config)
	first.kill(t)
	killed := time.Now()
	second := s.next(t)
	if late := time.Since(killed) - ackWait; late > 3*time.Second { // for the two writes of the handover, on a busy machine
		t.Errorf("the job started again %v after its lease", late)
	}
	if second.attempt != "1" {
		t.Errorf("attempt %s, want 1: a crash is no attempt", second.attempt)
	}
	second.succeed(`"done"`)
	events := conserved(t, b.URL, []millhand.Ref{ref})[ref]
	wantKinds(t, events, "lost", "succeeded")
	s.quiet(t)
}

func TestLongJobRunsOnce(t *testing.T) {
	t.Parallel()
	const ackWait = time.Second
	b, s := startBroker(t), newSite(t)
	startWorker(t, b.URL, "-f", s.config, "--ack-wait", ackWait.String())
	startWorker(t, b.URL, "-f", s.config)
	ref := enqueue(t, b.URL, "visit")[0]
	v := s.next(t)
	long := time.NewTimer(10 * ackWait)
	defer long.Stop()
	select {
	case <-s.visits:
		t.Error("the job was started again while it ran")
	case <-v.gone:
		t.Error("the job was cancelled while it ran")
	case <-long.C:
	}
	v.succeed("{}")
	wantKinds(t, conserved(t, b.URL, []millhand.Ref{ref})[ref], "succeeded")
	s.quiet(t)
}

// A worker that wakes after its lease finds one handler that is still at work and one
// that ended well while it slept. Both jobs were run by another worker meanwhile.
func TestFrozenWorkerSettlesNothing(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	first := startWorker(t, b.URL, "-f", s.config, "--ack-wait", "1s")
	refs := append(enqueue(t, b.URL, "visit", "--id", "waits"), enqueue(t, b.URL, "visit", "--id", "ends")...)
	old := map[string]*visit{}
	for range refs {
		v := s.next(t)
		old[v.id] = v
	}
	first.freeze(t)
	second := startWorker(t, b.URL, "-f", s.config)
	for range refs {
		s.next(t).succeed(`"second"`)
	}
	c := newClient(t, b.URL)
	for _, r := range refs {
		if _, err := c.Await(t.Context(), r); err != nil {
			t.Errorf("Await(%s): %v", r.ID, err)
		}
	}
	old["ends"].succeed(`"first"`)
	first.thaw(t)
	receive(t, "the worker that woke cancels its handler", old["waits"].gone)
	until(t, "the worker that woke gives up both jobs", func() bool { return first.log.count("lease lost") == len(refs) })
	events := conserved(t, b.URL, refs)
	for _, r := range refs {
		wantKinds(t, events[r], "lost", "succeeded")
		if e := events[r][len(events[r])-1]; string(e.Result) != `"second"` {
			t.Errorf("result of %s = %s, want that of the second worker", r.ID, e.Result)
		}
	}
	// It goes on working.
	second.signal(t, syscall.SIGTERM)
	second.wait(t)
	enqueue(t, b.URL, "visit")
	s.next(t).succeed("{}")
	s.quiet(t)
}

// A frozen worker cannot stop its commands, and yet they do not run on beside those of
// the worker that has their jobs now.
func TestFrozenWorkersCommandDies(t *testing.T) {
	t.Parallel()
	b, dir := startBroker(t), t.TempDir()
	trail := filepath.Join(dir, "trail")
	script := writeFile(t, "script", "echo begin >>"+trail+"\nsleep 6\necho end >>"+trail+"\n")
	work := []string{"--exec", "walk=sh " + script}
	first := startWorker(t, b.URL, append(work, "--ack-wait", "2s")...)
	ref := enqueue(t, b.URL, "walk")[0]
	until(t, "the job starts", func() bool { return readFile(t, trail) == "begin\n" })
	first.freeze(t)
	startWorker(t, b.URL, work...)
	wantKinds(t, conserved(t, b.URL, []millhand.Ref{ref})[ref], "lost", "succeeded")
	first.thaw(t)
	first.awaitLog(t, "lease lost")
	got := readFile(t, trail)
	if begun, ended := strings.Count(got, "begin\n"), strings.Count(got, "end\n"); begun < 2 || ended != 1 {
		t.Errorf("%d runs began and %d ended, want two and one: the first was to be killed with its lease", begun, ended)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

func TestJobThatKillsItsWorkerIsBuried(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	victims, err := os.OpenFile(fifo, os.O_RDWR, 0) // both ends, so that neither open waits
	if err != nil {
		t.Fatal(err)
	}
	defer victims.Close()
	script := writeFile(t, "script", "read pid <"+fifo+"\nkill -9 $pid\nsleep 60\n")
	ref := enqueue(t, b.URL, "poison")[0]
	start := func() *process {
		return startWorker(t, b.URL, "--exec", "poison=sh "+script, "--ack-wait", "1s")
	}
	for range 6 {
		w := start()
		if _, err := victims.WriteString(strconv.Itoa(w.pid()) + "\n"); err != nil {
			t.Fatal(err)
		}
		if code := w.wait(t); code != -1 {
			t.Fatalf("worker ended with %d, want it killed", code)
		}
	}
	start()
	// On a busy machine a lease of a second can end before the command has begun, which hands the job back and
	// counts as nothing.
	events := slices.DeleteFunc(conserved(t, b.URL, []millhand.Ref{ref})[ref], func(e millhand.Event) bool { return e.Kind == millhand.EventHandedBack })
	wantKinds(t, events, "lost", "lost", "lost", "lost", "lost", "dead")
	if last := events[len(events)-1]; last.Reason != "crashed" || last.Attempt != 1 {
		t.Errorf("dead with reason %q at attempt %d, want crashed at 1", last.Reason, last.Attempt)
	}
}

func TestSecondWorkerOfAStore(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	first := launchWorker(t, "--store", store, "--listen", "127.0.0.1:0")
	first.awaitLog(t, "worker started")
	second := launchWorker(t, "--store", store, "--listen", "127.0.0.1:0")
	if code := second.wait(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	want := "another worker (process " + strconv.Itoa(first.pid()) + ") runs its broker on " + store
	if got := second.log.String(); !strings.HasPrefix(got, "worker: ") || !strings.Contains(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("stderr = %q, want one line with %q", got, want)
	}
}

func TestSecondWorkerOfAHost(t *testing.T) {
	t.Parallel()
	first := launchWorker(t, "--store", t.TempDir(), "--listen", "127.0.0.1:0")
	_, url, _ := strings.Cut(first.awaitLog(t, "broker started"), "url=")
	url = strings.Fields(url)[0]
	first.awaitLog(t, "worker started")

	second := launchWorker(t, "--listen", strings.TrimPrefix(url, "nats://"), "--exec", "mine=echo mine")
	second.awaitLog(t, "a NATS server listens here already: using it")
	second.awaitLog(t, "worker started")
	out, _, code := runEnqueue(t, "", "-s", url, "mine", "--wait")
	if code != 0 || strings.TrimSpace(out) != "mine" {
		t.Errorf("a job of the second worker: exit code %d, result %q", code, out)
	}
	first.signal(t, syscall.SIGTERM)
	if code := first.wait(t); code != 0 {
		t.Errorf("first worker: exit code %d", code)
	}
	first.awaitLog(t, "the broker stops with this worker, and others are connected to it")
}
