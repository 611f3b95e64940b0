package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/supervisor"
	"github.com/millhand/millhand/internal/worker"
)

// Whatever part of a worker fails under load, it is back within its backoff, every job ends exactly once, and no
// handler runs twice, except where that is what a stop means: the runner stops with whatever takes it along, and hands
// the jobs that are running back, which run again with no attempt counted. Those are the runner itself, its queue, and
// what the worker started before its queues.
//
// The parts are those that the tree shows, so a new one is in the test. The root is not: its end is the worker's.
func TestEveryPartHealsUnderLoad(t *testing.T) {
	var paths []string
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		l := load(t, s, 1)
		time.Sleep(time.Second)
		for _, p := range l.Health().Tree.Children {
			paths = append(paths, pathsOf(p, "")...)
		}
		l.end(t)
	})
	if len(paths) < 6 {
		t.Fatalf("parts = %q: the tree is not all there", paths)
	}
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) { killUnderLoad(t, s, path) })
		})
	}
}

// A part that is restarted is one line of the log, whose words say what, why, with whom and when; the tree shows the same.
func TestRestartsAreToldInOneLine(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var log strings.Builder // written by the parts' supervisor alone while the test waits
		echo := func(_ context.Context, h *queue.Delivery, _ int) ([]byte, error) { return h.Payload, nil }
		f := newFaults()
		w := newWorker(t, s.Connect(t), worker.Config{
			Types: handled(echo, "cat", "wc"), Logger: slog.New(slog.NewTextHandler(&log, nil)), Instrument: f.instrument,
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Second)
		before := partAt(t, w, "queue default", "puller cat")
		f.kill(t, "puller cat")
		time.Sleep(time.Second)
		restarted := partAt(t, w, "queue default", "puller cat")
		if restarted.State != "running" || restarted.Restarts != 1 || restarted.LastError != errInjected.Error() || !restarted.Since.After(before.Since) {
			t.Errorf("puller = %+v, want it restarted once for %q, after %v", restarted, errInjected, before.Since)
		}
		for _, path := range [][]string{{"queue default", "puller wc"}, {"queue default", "runner"}, {"queue default"}, {}} {
			if p := partAt(t, w, path...); p.Restarts != 0 || p.State != "running" {
				t.Errorf("%q = %+v, want it as it was", path, p)
			}
		}
		c := newClient(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "cat", Payload: []byte(`"well"`)})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := c.Await(t.Context(), ref); err != nil || string(info.Result) != `"well"` {
			t.Errorf("Await = %s, %v", info.Result, err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		lines := slices.DeleteFunc(strings.Split(log.String(), "\n"), func(line string) bool { return !strings.Contains(line, errInjected.Error()) })
		if len(lines) != 1 {
			t.Fatalf("the log tells of it in %d lines, want one: %q", len(lines), lines)
		}
		for _, want := range []string{
			"level=WARN", `msg="child restarting"`, `supervisor="queue default"`, `child="puller cat"`, `err="` + errInjected.Error() + `"`,
			"restarts=1", "strategy=one_for_one", `group="[puller cat]"`, "delay=",
		} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("log line %q has no %s", lines[0], want)
			}
		}
	})
}

// partAt returns a part of a worker's tree.
func partAt(t *testing.T, w *worker.Worker, path ...string) supervisor.Node {
	t.Helper()
	p := w.Health().Tree
	for _, name := range path {
		i := slices.IndexFunc(p.Children, func(c supervisor.Node) bool { return c.Name == name })
		if i < 0 {
			t.Fatalf("%s has no part %q", p.Name, name)
		}
		p = p.Children[i]
	}
	return p
}

// pathsOf returns the paths of a part and those below it. Jobs come and go, and are no parts of the worker.
func pathsOf(p supervisor.Node, above string) []string {
	path := above + p.Name
	paths := []string{path}
	if p.Kind == supervisor.KindDynamic {
		return paths
	}
	for _, c := range p.Children {
		paths = append(paths, pathsOf(c, path+"/")...)
	}
	return paths
}

func killUnderLoad(t *testing.T, s *natstest.Server, path string) {
	t.Helper()
	l := load(t, s, 600)
	name := path[strings.LastIndex(path, "/")+1:]
	together := !strings.Contains(path, "/") // a part of the worker itself takes along what depends on it
	for n := range 5 {
		time.Sleep(2500 * time.Millisecond)
		down, backoff := l.faults.kill(t, name), firstRestart<<n
		if together {
			backoff = max(backoff, longestStop)
		}
		if down > backoff {
			t.Errorf("%s was down for %v after kill %d, want at most %v", path, down, n+1, backoff)
		}
	}
	ends := l.finish(t)
	for id, runs := range ends {
		for _, err := range runs[:len(runs)-1] {
			if !errors.Is(err, millhand.ErrHandedBack) || !together && name != "runner" {
				t.Errorf("job %s ran %d times: %v", id, len(runs), runs)
			}
		}
		if err := runs[len(runs)-1]; err != nil {
			t.Errorf("job %s ran last with %v", id, err)
		}
		l.expect(t, id, 1)
	}
	l.end(t)
}

// A job is a child too. Its goroutine's end is a failed attempt of that job, which runs again, and nothing to any other.
func TestJobsThatEndTheirGoroutine(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		l := load(t, s, 600)
		for range 5 {
			time.Sleep(2500 * time.Millisecond)
			l.mu.Lock()
			l.doomed = 3
			l.mu.Unlock()
		}
		failed := 0
		for id, runs := range l.finish(t) {
			switch {
			case len(runs) == 1 && runs[0] == nil:
				l.expect(t, id, 1)
			case len(runs) == 2 && errors.Is(runs[0], errGone) && runs[1] == nil:
				failed++
				l.expect(t, id, 2)
			default:
				t.Errorf("job %s ran as %v", id, runs)
			}
		}
		if failed != 15 {
			t.Errorf("%d jobs ran twice, want the 15 that ended their goroutines", failed)
		}
		l.end(t)
	})
}

const (
	firstRestart = 100 * time.Millisecond // the worker's and its queues' first backoff, which doubles
	longestStop  = time.Second            // of what a part takes along: the longest handler, and the end of a pull
)

var errGone = errors.New("the goroutine ended")

// loaded is a worker under load, and a record of what its handlers did.
type loaded struct {
	*worker.Worker
	faults *faults
	client *millhand.Client
	refs   map[string]millhand.Ref
	stop   context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	ends   map[string][]error // how each run of a job's handler ended
	doomed int                // how many of the next handlers end their goroutine
}

// load starts a worker and gives it jobs.
func load(t *testing.T, s *natstest.Server, jobs int) *loaded {
	t.Helper()
	l := &loaded{
		faults: newFaults(), ends: make(map[string][]error), ended: make(chan error, 1), refs: make(map[string]millhand.Ref),
	}
	l.Worker = newWorker(t, s.Connect(t), worker.Config{
		Types: handled(l.handle, "work", "other"), Concurrency: 10, Instrument: l.faults.instrument,
	})
	ctx, cancel := context.WithCancel(t.Context())
	l.stop = cancel
	go func() { l.ended <- l.Run(ctx) }()
	l.client = newClient(t, s.Connect(t))
	for _, ref := range enqueueMany(t, l.client, jobs) {
		l.refs[ref.ID] = ref
	}
	return l
}

// handle takes from 0.1 s to 0.6 s.
func (l *loaded) handle(ctx context.Context, j *queue.Delivery, _ int) ([]byte, error) {
	err := errGone
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ends[j.ID] = append(l.ends[j.ID], err)
	}()
	select {
	case <-time.After(time.Duration(1+len(j.ID)%6) * 100 * time.Millisecond):
		err = nil
	case <-ctx.Done():
		err = context.Cause(ctx)
		return nil, err
	}
	l.mu.Lock()
	l.doomed--
	dies := l.doomed >= 0
	l.mu.Unlock()
	if dies {
		err = errGone
		runtime.Goexit()
	}
	return nil, err
}

// finish waits for the end of every job, and returns how the runs of each ended.
func (l *loaded) finish(t *testing.T) map[string][]error {
	t.Helper()
	finals := make(map[string][]string)
	for e, err := range l.client.Events(t.Context(), time.Now().Add(-time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		if e.State.Final() {
			finals[e.ID] = append(finals[e.ID], string(e.Kind))
		}
		if len(finals) == len(l.refs) {
			break
		}
	}
	time.Sleep(time.Minute) // for what may follow
	for id := range l.refs {
		if got := fmt.Sprint(finals[id]); got != "[succeeded]" {
			t.Errorf("job %s ended as %s", id, got)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ends) != len(l.refs) {
		t.Errorf("%d jobs ran, want %d", len(l.ends), len(l.refs))
	}
	return l.ends
}

// expect checks a job that is at an attempt, and that no worker died of.
func (l *loaded) expect(t *testing.T, id string, attempt int) {
	t.Helper()
	info, err := l.client.Get(t.Context(), l.refs[id])
	if err != nil || info.State != millhand.Succeeded || info.Crashes > 0 || info.Attempt != attempt {
		t.Errorf("job %s: %s, attempt %d, crashes %d, %v; want attempt %d", id, info.State, info.Attempt, info.Crashes, err, attempt)
	}
}

// end stops a worker that is whole.
func (l *loaded) end(t *testing.T) {
	t.Helper()
	l.expectRunning(t, l.Health().Tree)
	l.stop()
	if err := <-l.ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func (l *loaded) expectRunning(t *testing.T, p supervisor.Node) {
	t.Helper()
	if p.State != supervisor.StateRunning {
		t.Errorf("%s is %s, want it running", p.Name, p.State)
	}
	for _, c := range p.Children {
		l.expectRunning(t, c)
	}
}

func enqueueMany(t *testing.T, c *millhand.Client, n int) []millhand.Ref {
	t.Helper()
	batch := make([]millhand.Request, n)
	for i := range batch {
		batch[i] = millhand.Request{Args: millhand.Raw{Name: "work"}, Options: []millhand.EnqueueOption{millhand.WithID(fmt.Sprintf("job-%0*d", 1+i%9, i))}}
	}
	refs, err := c.EnqueueMany(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return refs
}
