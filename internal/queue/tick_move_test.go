package queue

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// otherQueue is where entries move to.
const otherQueue = "q2"

// ticksOf removes the jobs of a queue that are ready, all of them ticks, and returns them. Of those that
// wait for their time it returns how many there are.
func (s *cronScene) ticksOf(queue string) (jobs []job.Record, later int) {
	s.t.Helper()
	name, err := job.QueueName(queue)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range s.scene.all(s.store.names.queueStream(name)) {
		r, ok := s.store.names.parseJobSubject(m.Subject)
		switch {
		case !ok:
			continue
		case !strings.HasPrefix(m.Subject, s.store.names.join(queue, "ready")+"."):
			later++
			continue
		}
		if err := r.ReadHeader(m.Header); err != nil || r.Tick == nil {
			s.t.Fatalf("%s is no tick: %v, %v", m.Subject, m.Header, err)
		}
		if err := s.store.client.Remove(s.ctx, s.store.names.queueStream(name), m.Seq); err != nil {
			s.t.Fatal(err)
		}
		jobs = append(jobs, r)
	}
	return jobs, later
}

// crashAt has a node die at the n-th message that it sends from now on.
func (n *tickingNode) crashAt(left int, fate natstest.Fate) (crashed func() bool) {
	died := false
	n.link.Watch(func(string) natstest.Fate {
		if left--; left != 0 {
			return natstest.Pass
		}
		died = true
		n.link.Down()
		return fate
	})
	return func() bool { n.link.Watch(nil); return died }
}

// An entry moves to another queue while ticks wait for their time in the old one, and the only worker
// dies at whatever step of that. The one that comes then has never heard of the old queue. Each tick
// runs once, by the entry as it was when it was due, and nothing is left for good.
func TestAnEntryMovesToAnotherQueue(t *testing.T) {
	for i, overlap := range []cron.Overlap{cron.AllowOverlap, cron.SkipOverlap} {
		for j, fate := range []natstest.Fate{natstest.CutBefore, natstest.CutAfter} {
			if i != j && *cronSeeds == 1 { // each overlap and each fate once, unless there is time for all
				continue
			}
			// Few are enough to see every other step, those that the other two leave out.
			steps, stride := 1, campaign(2, 1)
			if stride > 1 {
				steps += i
			}
			for crashed := true; crashed; steps += stride {
				inCronScene(t, func(s *cronScene) { crashed = s.move(overlap, steps, fate) })
			}
			if steps < 8 { // the cursor read, some ticks ended, the cursor removed, the new one read and written
				t.Errorf("%s: moved in %d steps", overlap, steps)
			}
		}
	}
}

// move moves an entry and reports whether the worker lived to see the given step.
func (s *cronScene) move(overlap cron.Overlap, step int, fate natstest.Fate) (crashed bool) {
	a := s.ticker("a")
	expected, ran := make(map[ranBy]int), make(map[ranBy]int)
	first := s.put(s.entry("@every 4s", overlap, cron.CatchUpOne))
	for range 10 {
		time.Sleep(time.Second + time.Millisecond)
		s.run(ran)
	}
	if _, later := s.ticksOf(testQueue); later == 0 && overlap == cron.AllowOverlap {
		s.t.Fatal("no tick waits for its time")
	}
	died := a.crashAt(step, fate)
	second := first
	second.Job.Queue = otherQueue
	second = s.put(second)
	time.Sleep(2 * time.Second)
	crashed = died()
	a.stop()
	s.ticker("b")
	until := time.Now().Add(14 * time.Second)
	for time.Now().Before(until) {
		time.Sleep(2 * time.Second)
		s.run(ran, otherQueue)
	}
	for _, tick := range want(first, first.Edited, second.Edited) {
		expected[ranBy{tick.UTC(), first.Rev}]++
	}
	for _, tick := range want(second, second.Edited, until) {
		expected[ranBy{tick.UTC(), second.Rev}]++
	}
	s.compare(fmt.Sprintf("%s, %v at step %d", overlap, fate, step), ran, expected)
	if _, later := s.ticksOf(testQueue); later != 0 {
		s.t.Errorf("%d ticks wait in the old queue", later)
	}
	return crashed
}

// Entries move between queues at random, to and fro, are removed and put again, and their workers die
// at whatever step.
func TestMovesAtRandom(t *testing.T) {
	for seed := range *cronSeeds {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			inCronScene(t, func(s *cronScene) {
				s.editAtRandom(rand.New(rand.NewPCG(uint64(seed), 42)), testQueue, otherQueue, "q3")
			})
		})
	}
}

// What was published ahead in a queue that an entry has left ends, though the entry is edited again
// before a worker has dealt with the move.
func TestAMoveIsNotForgottenByTheNextEdit(t *testing.T) {
	inCronScene(t, func(s *cronScene) {
		s.ticker("a")
		e := s.put(s.entry("@every 1h", cron.SkipOverlap, cron.CatchUpOne))
		time.Sleep(10 * time.Second)
		if left := s.waiting(); len(left) != 2 {
			t.Fatalf("published %v", left)
		}
		e.Job.Queue = otherQueue
		e = s.put(e)
		time.Sleep(time.Microsecond) // it has heard of the move
		e.Job.Payload = []byte("[]")
		s.put(e)
		time.Sleep(10 * time.Second)
		if left := s.waiting(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}
