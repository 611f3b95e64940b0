package integration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

const (
	demandSlots = 10              // of each worker
	demandPause = 2 * time.Second // twice as long as a job in hand may wait for a slot
)

// Two full workers hold nothing that a third could run: it has the next jobs in line
// although none of the others ends.
func TestNothingIsHoarded(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	worker := []string{"-f", s.config, "-c", "10", "--ack-wait", "10m"} // no lease ends meanwhile
	refs := enqueueFrom(t, b.URL, strings.Repeat("{\"type\":\"visit\"}\n", 4*demandSlots), "--from", "-")
	startWorker(t, b.URL, worker...)
	startWorker(t, b.URL, worker...)
	running := s.take(t, 2*demandSlots)
	wantVisits(t, running, refs[:2*demandSlots])
	s.pause(t)

	startWorker(t, b.URL, worker...)
	next := s.take(t, demandSlots)
	wantVisits(t, next, refs[2*demandSlots:3*demandSlots])
	s.pause(t)

	// Each job that ends makes room for one.
	for range demandSlots {
		running[0].succeed("{}")
		running = append(running[1:], s.take(t, 1)...)
	}
	wantVisits(t, running[demandSlots:], refs[3*demandSlots:])
	for _, v := range append(running, next...) {
		v.succeed("{}")
	}
	wantRunOnce(t, b, s, refs)
}

// With several queues and types a worker may have a job too many in hand for a second.
func TestNothingIsHoardedFromSeveralQueues(t *testing.T) {
	t.Parallel()
	b, s := startBroker(t), newSite(t)
	worker := []string{"-f", s.config, "-c", "10", "--ack-wait", "10m", "-q", "critical=6", "-q", "default=3", "-q", "low=1"}
	var refs []millhand.Ref
	for _, q := range []string{"critical", "default", "low"} {
		refs = append(refs, enqueueFrom(t, b.URL, strings.Repeat("{\"type\":\"visit\"}\n", 2*demandSlots), "-q", q, "--from", "-")...)
	}
	startWorker(t, b.URL, worker...)
	startWorker(t, b.URL, worker...)
	running := s.take(t, 2*demandSlots)
	s.pause(t)
	startWorker(t, b.URL, worker...)
	running = append(running, s.take(t, demandSlots)...)
	s.pause(t)
	for range len(refs) - 3*demandSlots {
		running[0].succeed("{}")
		running = append(running[1:], s.take(t, 1)...)
	}
	for _, v := range running {
		v.succeed("{}")
	}
	wantRunOnce(t, b, s, refs)
}

// take waits for the next runs of jobs.
func (s *site) take(t *testing.T, n int) (visits []*visit) {
	t.Helper()
	for range n {
		visits = append(visits, s.next(t))
	}
	return visits
}

// pause wants no run to begin for a while.
func (s *site) pause(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(demandPause)
	defer timer.Stop()
	select {
	case v := <-s.visits:
		t.Fatalf("job %s runs while every slot is taken", v.id)
	case <-timer.C:
	}
}

func wantVisits(t *testing.T, visits []*visit, want []millhand.Ref) {
	t.Helper()
	var got, ids []string
	for _, v := range visits {
		got = append(got, v.id)
	}
	for _, r := range want {
		ids = append(ids, r.ID)
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("jobs %q run, want %q", got, ids)
	}
}

func wantRunOnce(t *testing.T, b *brokerProcess, s *site, refs []millhand.Ref) {
	t.Helper()
	events := conserved(t, b.URL, refs)
	for _, r := range refs {
		wantKinds(t, events[r], "succeeded")
	}
	s.quiet(t)
}
