package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

// permitTTL is how long the permits of a vanished probe stay taken.
const permitTTL = 3 * time.Second

// enqueueProbes enqueues jobs of a type for probes.
func enqueueProbes(t *testing.T, url, typ string, n int, each time.Duration) []millhand.Ref {
	t.Helper()
	payload, err := json.Marshal(probeJob{For: each})
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("{\"type\":%q,\"payload\":%s}\n", typ, payload)
	return enqueueFrom(t, url, strings.Repeat(line, n), "--from", "-")
}

// wantWithin wants no more than limit handlers of a type to have run at once, and some.
func wantWithin(t *testing.T, j *journal, typ string, limit int) {
	t.Helper()
	most := 0
	overlap(j.read(t), typ, func(e entry, running int) {
		if running > most {
			most = running
			if most > limit {
				t.Errorf("job %s of type %s started in process %d as number %d at once; the quota is %d", e.id, typ, e.pid, most, limit)
			}
		}
	})
	if most == 0 {
		t.Errorf("no job of type %s ran", typ)
	}
	t.Logf("%s: at most %d at once, quota %d", typ, most, limit)
}

// However many workers there are, no more than the quota run at once, and types without
// one flow past those that wait.
func TestQuotaHolds(t *testing.T) { //nolint:tparallel // one at a time: the machine is for eight workers
	t.Parallel()
	for _, c := range []struct{ workers, limit, jobs int }{{1, 1, 20}, {1, 50, 500}, {3, 5, 150}, {8, 3, 100}, {8, 50, 800}} {
		t.Run(fmt.Sprintf("%d of %d workers", c.limit, c.workers), func(t *testing.T) {
			b, j := startBroker(t), newJournal(t)
			refs := enqueueProbes(t, b.URL, "import", c.jobs, 40*time.Millisecond)
			free := enqueueProbes(t, b.URL, "email", c.jobs, time.Millisecond)
			for range c.workers {
				launchProbe(t, j, probeArgs{
					URL: b.URL, Types: []string{"import", "email"}, Concurrency: 60, PermitTTL: permitTTL,
					Quotas: []millhand.Quota{{Type: "import", Limit: c.limit}},
				})
			}
			wantSucceeded(t, b, append(refs, free...))
			wantWithin(t, j, "import", c.limit)
		})
	}
}

// wantSucceeded wants each job to have run once, to its end.
func wantSucceeded(t *testing.T, b *brokerProcess, refs []millhand.Ref) {
	t.Helper()
	events := conserved(t, b.URL, refs)
	for _, r := range refs {
		wantKinds(t, events[r], "succeeded")
	}
}

// The book's race: whoever counts and then starts admits one too many.
func TestQuotaHoldsAgainstSixtyStartsAtOnce(t *testing.T) {
	t.Parallel()
	b, j := startBroker(t), newJournal(t)
	for range 3 {
		startProbe(t, j, probeArgs{
			URL: b.URL, Types: []string{"import"}, Concurrency: 60, PermitTTL: permitTTL,
			Quotas: []millhand.Quota{{Type: "import", Limit: 5}},
		})
	}
	for range 5 {
		wantSucceeded(t, b, enqueueProbes(t, b.URL, "import", 60, 10*time.Millisecond))
	}
	wantWithin(t, j, "import", 5)
}

// Workers are killed and frozen for longer than their permits live, the limit goes up and
// down, and the broker is killed and restarted: the quota holds throughout.
func TestQuotaHoldsUnderViolence(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("the same again: go test ./test/integration -run %s -seed %d", t.Name(), *seed)
	random := rand.New(rand.NewPCG(*seed, 1)) //nolint:gosec // not a secret
	b, j := startBroker(t), newJournal(t)
	client := newClient(t, b.URL)
	args := probeArgs{URL: b.URL, Types: []string{"import"}, Concurrency: 30, PermitTTL: permitTTL}
	setQuota(t, client, 20)
	const jobs = 2000
	refs := enqueueProbes(t, b.URL, "import", jobs, 100*time.Millisecond)
	var probes [4]*probe
	for i := range probes {
		probes[i] = startProbe(t, j, args)
	}
	for cycle := range 16 {
		i := random.IntN(len(probes))
		p := probes[i]
		switch cycle % 4 {
		case 0:
			p.kill(t)
			probes[i] = launchProbe(t, j, args)
		case 1:
			p.freeze(t)
			pause(permitTTL + time.Duration(random.IntN(2000))*time.Millisecond)
			p.thaw(t)
		case 2:
			setQuota(t, client, 5+random.IntN(16))
		case 3:
			b.kill(t)
			pause(time.Duration(random.IntN(int(2 * permitTTL))))
			b.start(t)
		}
		pause(time.Duration(random.IntN(500)) * time.Millisecond)
	}
	conserved(t, b.URL, refs)
	wantWithin(t, j, "import", 20)
}

// A limit that is lowered while jobs run holds as soon as those above it have ended.
func TestQuotaFollowsItsLimit(t *testing.T) {
	t.Parallel()
	b, j := startBroker(t), newJournal(t)
	client := newClient(t, b.URL)
	setQuota(t, client, 50)
	enqueueProbes(t, b.URL, "import", 100_000, 50*time.Millisecond)
	for range 3 {
		startProbe(t, j, probeArgs{URL: b.URL, Types: []string{"import"}, Concurrency: 50, PermitTTL: permitTTL})
	}
	for _, limit := range []int{50, 5, 30} {
		setQuota(t, client, limit)
		at := func() int {
			now := 0
			overlap(j.read(t), "import", func(_ entry, running int) { now = running })
			return now
		}
		until(t, fmt.Sprintf("%d run", limit), func() bool { return at() == limit })
		from := len(j.read(t))
		until(t, "many more have run", func() bool { return len(j.read(t)) > from+20*limit })
		most, n := 0, 0
		overlap(j.read(t), "import", func(_ entry, running int) {
			if n++; n > from {
				most = max(most, running)
			}
		})
		if most != limit {
			t.Errorf("at most %d at once with a limit of %d", most, limit)
		}
	}
}

// A worker that was frozen for longer than its permit lives has its handlers told, and goes on:
// none of them was asked to stop before. Its job runs elsewhere or again, with no attempt counted.
func TestFrozenWorkerWithAQuotaLives(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"sleep": {"--quota", "sleep=1"},
		"exec":  {"--exec", "sleep=sleep 3", "--quota", "sleep=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startBroker(t)
			w := startWorker(t, b.URL, append(args, "--permit-ttl", "3s")...)
			refs := enqueueFrom(t, b.URL, strings.Repeat(`{"type":"sleep","payload":{"for":"3s"}}`+"\n", 3), "--from", "-")
			client := newClient(t, b.URL)
			until(t, "one runs", func() bool {
				jobs, err := client.Running(t.Context(), "sleep")
				return err == nil && len(jobs) == 1
			})
			for range 2 {
				w.freeze(t)
				pause(5 * time.Second)
				w.thaw(t)
				w.awaitLog(t, "permits lost")
			}
			events := conserved(t, b.URL, refs)
			for _, r := range refs {
				last := events[r][len(events[r])-1]
				if last.Kind != "succeeded" || name == "sleep" && last.Attempt != 1 {
					t.Errorf("job %s ended as %+v", r.ID, last)
				}
			}
			w.signal(t, syscall.SIGTERM)
			if code := w.wait(t); code != 0 {
				t.Errorf("exit code %d\n%s", code, w.log)
			}
			if n := w.log.count("ending the process"); n > 0 {
				t.Errorf("the worker ended its process\n%s", w.log)
			}
		})
	}
}

func setQuota(t *testing.T, c *millhand.Client, limit int) {
	t.Helper()
	if err := c.SetQuota(t.Context(), millhand.Quota{Type: "import", Limit: limit}); err != nil {
		t.Fatal(err)
	}
}

// In a cluster of three the leaders die one after the other.
func TestQuotaHoldsThroughElections(t *testing.T) {
	t.Parallel()
	j := newJournal(t)
	nodes := startCluster(t, func(string) {})
	args := probeArgs{
		URL: urls(nodes), Types: []string{"import"}, Concurrency: 20, PermitTTL: permitTTL,
		Quotas: []millhand.Quota{{Type: "import", Limit: 5}},
	}
	for range 3 {
		startProbe(t, j, args)
	}
	refs := enqueueProbes(t, urls(nodes), "import", 300, 100*time.Millisecond)
	for _, n := range nodes {
		n.kill(t)
		pause(time.Second)
		n.start(t)
		done := j.count(t, "end", "import")
		until(t, "jobs go on", func() bool { return j.count(t, "end", "import") > done+10 })
	}
	conserved(t, urls(nodes), refs)
	wantWithin(t, j, "import", 5)
}
