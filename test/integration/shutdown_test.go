package integration

import (
	"syscall"
	"testing"

	"github.com/millhand/millhand"
)

func TestDrainLetsRunningJobsFinish(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	first := startWorker(t, b.URL, "-f", s.config)
	running := enqueue(t, b.URL, "visit")[0]
	v := s.next(t)
	first.signal(t, syscall.SIGTERM)
	first.awaitLog(t, "msg=draining")
	waiting := enqueue(t, b.URL, "visit")[0]
	v.succeed("{}")
	if code := first.wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	s.quiet(t)

	startWorker(t, b.URL, "-f", s.config)
	v = s.next(t)
	if v.id != waiting.ID || v.attempt != "1" {
		t.Errorf("attempt %s of job %s runs, want 1 of %s", v.attempt, v.id, waiting.ID)
	}
	v.succeed("{}")
	events := conserved(t, b.URL, []millhand.Ref{running, waiting})
	wantKinds(t, events[running], "succeeded")
	wantKinds(t, events[waiting], "succeeded")
}

func TestDrainTimeoutHandsBack(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	first := startWorker(t, b.URL, "-f", s.config, "--drain-timeout", "200ms")
	ref := enqueue(t, b.URL, "visit")[0]
	v := s.next(t)
	first.signal(t, syscall.SIGTERM)
	receive(t, "the handler is cancelled", v.gone)
	if code := first.wait(t); code != 75 {
		t.Errorf("exit code %d, want 75", code)
	}
	wantHandedBack(t, b, s, ref)
}

func TestSecondSignalHandsBack(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	first := startWorker(t, b.URL, "-f", s.config, "--drain-timeout", "1h")
	ref := enqueue(t, b.URL, "visit")[0]
	v := s.next(t)
	first.signal(t, syscall.SIGTERM)
	first.awaitLog(t, "a second signal hands running jobs back")
	first.signal(t, syscall.SIGINT)
	receive(t, "the handler is cancelled", v.gone)
	if code := first.wait(t); code != 75 {
		t.Errorf("exit code %d, want 75", code)
	}
	wantHandedBack(t, b, s, ref)
}

// wantHandedBack wants a job to be as it was before its worker had it, and to run.
func wantHandedBack(t *testing.T, b *brokerProcess, s *site, ref millhand.Ref) {
	t.Helper()
	info, err := newClient(t, b.URL).Get(t.Context(), ref)
	if err != nil || info.State != millhand.Ready || info.Attempt != 1 || info.Crashes != 0 {
		t.Errorf("handed back: %s at attempt %d after %d crashes, %v; want ready, 1 and 0", info.State, info.Attempt, info.Crashes, err)
	}
	startWorker(t, b.URL, "-f", s.config)
	v := s.next(t)
	if v.attempt != "1" {
		t.Errorf("attempt %s, want 1", v.attempt)
	}
	v.succeed("{}")
	events := conserved(t, b.URL, []millhand.Ref{ref})[ref]
	wantKinds(t, events, "handed_back", "succeeded")
	s.quiet(t)
}

// A command that does not listen to SIGTERM has 5 s before it is killed; the third signal
// does not wait for that. The job is like that of a worker that crashed.
func TestThirdSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	deaf := writeFile(t, "deaf", "trap '' TERM\nwhile :; do sleep 60; done\n")
	first := startWorker(t, b.URL, "--exec", "deaf=sh "+deaf, "--ack-wait", "2s", "--drain-timeout", "1h")
	ref := enqueue(t, b.URL, "deaf")[0]
	first.awaitLog(t, "minder started")
	first.signal(t, syscall.SIGTERM)
	first.awaitLog(t, "a second signal hands running jobs back")
	first.signal(t, syscall.SIGTERM)
	first.awaitLog(t, "a third signal ends the process at once")
	first.signal(t, syscall.SIGTERM)
	if code := first.wait(t); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	startWorker(t, b.URL, "--exec", "deaf=true")
	wantKinds(t, conserved(t, b.URL, []millhand.Ref{ref})[ref], "lost", "succeeded")
}

// A worker that waits for its broker has nothing to drain.
func TestSignalBeforeTheBrokerIsThere(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	b.stop(t)
	w := launchWorker(t, "-s", b.URL, "-f", s.config)
	w.awaitLog(t, "no server yet, still trying")
	w.signal(t, syscall.SIGTERM)
	if code := w.wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
