package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/millhand/millhand"
)

const (
	shortageFirst  = 50 * time.Millisecond // pauses between tries while something is short
	shortageMost   = time.Second
	shortageWithin = 5 * time.Second  // then another worker may have more of it
	tellEvery      = 10 * time.Second // at most so often is a shortage logged
	minderDeaths   = 5                // that a job is handed back for, as many as it may lose its worker
)

// trouble is what is the worker's own and no failure of a job: it costs time, and no attempt.
// All types share one.
type trouble struct {
	log *slog.Logger

	mu     sync.Mutex
	told   time.Time
	deaths map[millhand.Ref]int // of minders, by the jobs whose command ran
}

func newTrouble(log *slog.Logger) *trouble {
	return &trouble{log: log, deaths: make(map[millhand.Ref]int)}
}

// outOfResources reports whether err says that this process or host has no more
// descriptors, processes or memory.
func outOfResources(err error) bool {
	for _, errno := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM, syscall.ENOBUFS, syscall.ETOOMANYREFS,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// patiently runs f, again and again while something is short that it needs: other jobs give
// it back when they end. The slot is kept meanwhile, so that a worker in need does not pull
// one job after the other only to hand it back.
func (t *trouble) patiently(ctx context.Context, f func() ([]byte, error)) ([]byte, error) {
	var waited time.Duration
	for pause := shortageFirst; ; pause = min(2*pause, shortageMost) {
		result, err := f()
		if !outOfResources(err) {
			return result, err
		}
		t.tell(err)
		if waited += pause; waited > shortageWithin || !rest(ctx, pause) {
			return nil, millhand.HandBack(err)
		}
	}
}

// rest waits, and reports whether ctx has not ended meanwhile.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *trouble) tell(err error) {
	t.mu.Lock()
	first := time.Since(t.told) > tellEvery
	if first {
		t.told = time.Now()
	}
	t.mu.Unlock()
	if first {
		t.log.Warn("jobs wait for descriptors, processes or memory: raise the limits of this process (ulimit, LimitNOFILE=, TasksMax=) or lower --concurrency",
			slog.Any("err", err))
	}
}

// minderDied counts the minders that died under a job, and reports whether it may be handed
// back once more: one whose own command kills them has to end some day.
func (t *trouble) minderDied(ref millhand.Ref) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deaths[ref]++
	if t.deaths[ref] <= minderDeaths {
		return true
	}
	delete(t.deaths, ref)
	return false
}

// ended forgets a job whose command ended in another way.
func (t *trouble) ended(ref millhand.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.deaths, ref)
}
