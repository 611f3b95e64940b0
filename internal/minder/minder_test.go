//go:build unix

package minder

import (
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"
)

// kill -9 of the worker: nobody is left to renew, or to wait for the lease's end.
func TestKilledWorkerTakesItsCommandsAlong(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	worker := startWorker(t, w.family(), "")
	w.numbers(t)
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	w.awaitEnd(t)
}

// A frozen worker still holds its sockets: the lease's end is what counts.
func TestFrozenWorkersCommandsEndWithTheLease(t *testing.T) {
	t.Parallel()
	const lease = 5 * time.Second
	w := newWire(t)
	before := time.Now()
	worker := startWorker(t, w.family(), lease.String())
	w.numbers(t)
	if err := worker.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.awaitEnd(t) // and it is frozen until the test ends
	if ran := time.Since(before); ran < lease {
		t.Errorf("the command was killed after %v, within the lease of %v", ran, lease)
	}
}

// A frozen worker does not read what its commands write, and they still end with the lease.
func TestFrozenWorkersCommandBlockedOnItsOutput(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	worker := startWorker(t, w.hold()+"echo 1 >&9; sleep 1; head -c 10000000 /dev/zero; sleep 600", "5s")
	w.numbers(t)
	if err := worker.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.awaitEnd(t)
}

func TestKilledMinderTakesItsCommandsAlong(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := m.Run(t.Context(), sh(w.family())); !errors.Is(err, ErrMinderDied) {
			t.Errorf("Run = %v, want ErrMinderDied", err)
		}
	})
	pids := w.numbers(t)
	if err := syscall.Kill(pids[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	w.awaitEnd(t)
	if got, err := m.Run(t.Context(), sh("echo again")); err != nil || string(got.Stdout) != "again\n" {
		t.Errorf("Run with a new minder = %q, %v", got.Stdout, err)
	}
}

// A minder that dies while nothing runs is found out by the next run.
func TestKilledIdleMinderIsReplaced(t *testing.T) {
	t.Parallel()
	m := newMinder(t)
	for range 2 {
		if got, err := m.Run(t.Context(), sh("kill -KILL $PPID; sleep 600")); !errors.Is(err, ErrMinderDied) {
			t.Fatalf("Run = %v, %v, want ErrMinderDied", got, err)
		}
	}
	p, _, err := m.process()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Until it is dead, and its sockets closed, it would take the run.
	if _, err := p.control.Read(make([]byte, 1)); err == nil {
		t.Fatal("the minder wrote to its control socket")
	}
	if got, err := m.Run(t.Context(), sh("echo fine")); err != nil || string(got.Stdout) != "fine\n" {
		t.Errorf("Run = %q, %v", got.Stdout, err)
	}
}

func TestFrozenMinderIsReplaced(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := m.Run(t.Context(), sh(w.family())); !errors.Is(err, ErrMinderDied) {
			t.Errorf("Run = %v, want ErrMinderDied", err)
		}
	})
	pids := w.numbers(t)
	if err := syscall.Kill(pids[1], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	w.awaitEnd(t)
	if _, err := m.Run(t.Context(), sh("true")); err != nil {
		t.Errorf("Run with a new minder = %v", err)
	}
}

func TestMinderOutlivesSignals(t *testing.T) {
	t.Parallel()
	m := newMinder(t)
	got, err := m.Run(t.Context(), sh("kill -TERM $PPID; kill -INT $PPID; kill -HUP $PPID; kill -QUIT $PPID; sleep 0.2; echo $PPID"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.Run(t.Context(), sh("echo $PPID"))
	if err != nil || string(again.Stdout) != string(got.Stdout) {
		t.Errorf("minders %q and %q, %v, want one", got.Stdout, again.Stdout, err)
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	t.Parallel()
	m, w := newMinder(t), newWire(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if _, err := m.Run(t.Context(), sh(w.family())); !errors.Is(err, ErrClosed) {
			t.Errorf("Run = %v, want ErrClosed", err)
		}
	})
	w.numbers(t)
	m.Close()
	w.awaitEnd(t)
	if _, err := m.Run(t.Context(), sh("true")); !errors.Is(err, ErrClosed) {
		t.Errorf("Run after Close = %v, want ErrClosed", err)
	}
}
