package integration

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

var (
	seed   = flag.Uint64("seed", 0, "of the violence; 0: a new one")
	cycles = flag.Int("cycles", 30, "of violence, each about two thirds of a second")
)

// Three workers run twenty jobs a cycle, of up to 200 ms, while they are killed, drained and frozen
// and their broker is killed and restarted. Whatever happens, each job ends once.
func TestViolence(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("the same again: go test ./test/integration -run TestViolence -seed %d -cycles %d", *seed, *cycles)
	jobs := 20 * *cycles
	v := &violence{
		random: rand.New(rand.NewPCG(*seed, 0)), //nolint:gosec // not a secret
		broker: startBroker(t),
		done:   make(map[string]int),
	}
	var lines strings.Builder
	for range jobs {
		fmt.Fprintf(&lines, "{\"type\":\"sleep\",\"payload\":{\"for\":\"%dms\"},\"max_attempts\":1}\n", v.random.IntN(200))
	}
	refs := enqueueFrom(t, v.broker.URL, lines.String(), "--from", "-")
	if len(refs) != jobs {
		t.Fatalf("%d jobs enqueued, want %d", len(refs), jobs)
	}
	for i := range v.workers {
		v.workers[i] = v.hire(t)
	}
	start := time.Now()
	for range *cycles {
		v.cycle(t)
	}
	t.Logf("%d cycles in %v: %v", *cycles, time.Since(start).Round(time.Second), v.done)
	for _, w := range v.workers {
		w.thaw(t)
	}
	events := conserved(t, v.broker.URL, refs)
	ends, lost := make(map[string]int), 0
	for _, r := range refs {
		for _, e := range events[r] {
			if e.Kind == "lost" {
				lost++
			}
			if !e.State.Final() {
				continue
			}
			ends[string(e.Kind)+" "+string(e.Reason)]++
			if e.State != millhand.Succeeded && e.Reason != "crashed" { // it had six bad days
				t.Errorf("job %s ended %s (%s): %s", r.ID, e.Kind, e.Reason, e.Error)
			}
		}
	}
	t.Logf("ends: %v; lost on the way: %d", ends, lost)
}

type violence struct {
	random  *rand.Rand
	broker  *brokerProcess
	workers [3]*process
	done    map[string]int
}

func (v *violence) hire(t *testing.T) *process {
	t.Helper()
	return launchWorker(t, "-s", v.broker.URL, "-c", "1", "--ack-wait", "1s", "--drain-timeout", "200ms")
}

// cycle does one thing to somebody, and lets a moment pass.
func (v *violence) cycle(t *testing.T) {
	t.Helper()
	i := v.random.IntN(len(v.workers))
	w := v.workers[i]
	moment := time.Duration(50+v.random.IntN(200)) * time.Millisecond
	switch what := v.random.IntN(10); what {
	case 0, 1, 2:
		v.done["worker killed"]++
		w.kill(t)
		v.workers[i] = v.hire(t)
	case 3, 4, 5:
		v.done["worker drained"]++
		w.signal(t, syscall.SIGTERM)
		code := w.wait(t)
		early := code == -1 && w.log.String() == "" // before it could listen to signals
		if code != 0 && code != 75 && !early {
			t.Errorf("worker ended with %d, want 0 or 75", code)
		}
		v.workers[i] = v.hire(t)
	case 6, 7:
		v.done["worker frozen"]++
		w.freeze(t)
		pause(moment + time.Duration(v.random.IntN(2000))*time.Millisecond)
		w.thaw(t)
	case 8:
		v.done["broker killed"]++
		v.broker.kill(t)
		pause(time.Duration(v.random.IntN(500)) * time.Millisecond)
		v.broker.start(t)
	case 9:
		v.done["broker restarted"]++
		v.broker.stop(t)
		pause(time.Duration(v.random.IntN(500)) * time.Millisecond)
		v.broker.start(t)
	}
	pause(moment)
}

// pause is part of what is done to them, not a wait for it to have an effect.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}
