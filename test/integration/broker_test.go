package integration

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

// The broker is stopped while jobs run, which end before it is back.
func TestOutageShorterThanTheLease(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	w := startWorker(t, b.URL, "-f", s.config, "-c", "4", "--ack-wait", "1m")
	var refs []millhand.Ref
	for range 6 {
		refs = append(refs, enqueue(t, b.URL, "visit")...)
	}
	var running []*visit
	for range 4 {
		running = append(running, s.next(t))
	}
	b.stop(t)
	w.awaitLog(t, "server lost, reconnecting")
	for _, v := range running {
		v.succeed(`"during"`)
	}
	b.start(t)
	for range 2 {
		s.next(t).succeed(`"after"`)
	}
	events := conserved(t, b.URL, refs)
	for _, r := range refs {
		wantKinds(t, events[r], "succeeded")
	}
	s.quiet(t)
}

func TestOutageLongerThanTheLease(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	startWorker(t, b.URL, "-f", s.config, "--ack-wait", "1s")
	refs := append(enqueue(t, b.URL, "visit", "--id", "waits"), enqueue(t, b.URL, "visit", "--id", "ends")...)
	old := map[string]*visit{}
	for range refs {
		v := s.next(t)
		old[v.id] = v
	}
	b.stop(t)
	receive(t, "the handler is cancelled with its lease", old["waits"].gone)
	receive(t, "the handler is cancelled with its lease", old["ends"].gone)
	s.quiet(t)
	b.start(t)
	for range refs {
		s.next(t).succeed(`"again"`)
	}
	events := conserved(t, b.URL, refs)
	for _, r := range refs {
		wantKinds(t, events[r], "lost", "succeeded")
	}
	s.quiet(t)
}

// However often the broker goes away, and however it ends, no puller stays deaf. A job may
// run twice here: a broker that is killed can forget a delivery.
func TestWorkersSurviveManyRestarts(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	s.echo(t)
	startWorker(t, b.URL, "-f", s.config)
	startWorker(t, b.URL, "-f", s.config)
	var refs []millhand.Ref
	for n := range 6 {
		if n%2 == 0 {
			b.stop(t)
		} else {
			b.kill(t)
		}
		b.start(t)
		refs = append(refs, enqueue(t, b.URL, "visit", strconv.Itoa(n))...)
	}
	events := conserved(t, b.URL, refs)
	for n, r := range refs {
		if last := events[r][len(events[r])-1]; last.State != millhand.Succeeded || string(last.Result) != strconv.Itoa(n) {
			t.Errorf("job %d: %s with result %s", n, last.State, last.Result)
		}
	}
}

func TestBrokerComesBackWithoutItsData(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	w := startWorker(t, b.URL, "-f", s.config, "--ack-wait", "2s")
	enqueue(t, b.URL, "visit")
	lost := s.next(t)
	b.stop(t)
	b.wipe(t)
	b.start(t)
	line := w.awaitLog(t, "the broker had lost a queue's stream")
	if !strings.Contains(line, "level=WARN") || !strings.Contains(line, "stream=millhand-queue-default") {
		t.Errorf("warning = %s", line)
	}
	ref := enqueue(t, b.URL, "visit")[0]
	v := s.next(t)
	if v.id != ref.ID {
		t.Errorf("job %s runs, want %s", v.id, ref.ID)
	}
	v.succeed("{}")
	wantKinds(t, conserved(t, b.URL, []millhand.Ref{ref})[ref], "succeeded")
	// What ran through the loss has nobody to report to, but must not hinder its worker.
	lost.succeed("{}")
	w.signal(t, syscall.SIGTERM)
	if code := w.wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A broker that hangs is not told from one that is gone by a refused connection.
func TestEnqueueToADeadBroker(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	for _, tt := range []struct {
		how string
		do  func()
	}{
		{"frozen", func() { b.freeze(t) }},
		{"killed", func() { b.kill(t) }},
	} {
		tt.do()
		start := time.Now()
		_, stderr, code := runEnqueue(t, "", "-s", b.URL, "email")
		if took := time.Since(start); took > 8*time.Second { // it is 5 s at most; the rest is for a busy machine
			t.Errorf("%s: took %v", tt.how, took)
		}
		if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "enqueue: connect to "+b.URL) {
			t.Errorf("%s: exit code %d, stderr %q; want 1 and one line", tt.how, code, stderr)
		}
	}
}

func TestClusterLosesANode(t *testing.T) {
	t.Parallel()
	const jobs = 300
	var early *process
	nodes := startCluster(t, func(url string) {
		early = launchWorker(t, "-s", url, "-c", "8", "--ack-wait", "5s")
		early.awaitLog(t, "no suitable peers") // for three copies
	})
	all := urls(nodes)
	early.awaitLog(t, "worker started")
	startWorker(t, nodes[2].URL+","+nodes[1].URL+","+nodes[0].URL, "-c", "8")
	var lines strings.Builder
	for range jobs {
		lines.WriteString(`{"type":"sleep","payload":{"for":"50ms"}}` + "\n")
	}
	refs := enqueueFrom(t, all, lines.String(), "--from", "-")
	if len(refs) != jobs {
		t.Fatalf("%d jobs enqueued, want %d", len(refs), jobs)
	}
	nodes[1].kill(t)
	conserved(t, all, refs)

	// The rest of the cluster takes new jobs, and the node comes back.
	nodes[1].start(t)
	more := enqueueFrom(t, all, lines.String(), "--from", "-")
	nodes[0].kill(t)
	conserved(t, all, append(refs, more...))
}
