package queue

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/natstest"
)

// The job of a tick keeps the next ones out while it is alive, and each of those is counted.
func TestATickIsSkippedWhileTheOneBeforeIsAlive(t *testing.T) {
	inCronScene(t, func(s *cronScene) {
		s.ticker("a")
		s.ticker("b")
		s.put(s.entry("@every 1m", cron.SkipOverlap, cron.CatchUpOne))
		time.Sleep(5*time.Minute + 30*time.Second) // the first one is there all the time
		c, _, err := s.store.readCursor(s.ctx, queueName(), cronName("e"))
		if err != nil || c.Skipped != 4 || c.Missed != 0 || !c.SkippedAt.Equal(c.Last) {
			s.t.Errorf("cursor %+v, %v", c, err)
		}
		ran := make(map[time.Time]int)
		s.take(ran) // it ends between two ticks
		time.Sleep(time.Minute)
		s.take(ran)
		if len(ran) != 2 {
			s.t.Errorf("ran %v", ran)
		}
	})
}

// Whoever comes after all workers were down publishes what the catch-up says, and counts the rest.
func TestTicksThatNobodyPublished(t *testing.T) {
	tests := []struct {
		down    int // ticks, of a minute each
		catchUp cron.CatchUp
		ran     int // of those
		missed  int
	}{
		{1, cron.CatchUpSkip, 1, 0},
		{1, cron.CatchUpOne, 1, 0},
		{1, cron.CatchUpAll, 1, 0},
		{3, cron.CatchUpSkip, 1, 2},
		{3, cron.CatchUpOne, 1, 2},
		{3, cron.CatchUpAll, 3, 0},
		{300, cron.CatchUpSkip, 1, 299},
		{300, cron.CatchUpOne, 1, 299},
		{300, cron.CatchUpAll, 100, 200},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d,%s", tt.down, tt.catchUp), func(t *testing.T) {
			inCronScene(t, func(s *cronScene) {
				n := s.ticker("a")
				e := s.put(s.entry("@every 1m", cron.AllowOverlap, tt.catchUp))
				time.Sleep(time.Minute + 10*time.Second) // a tick is published ahead as well, and comes
				n.stop()
				down := e.Schedule.Next(e.Schedule.Next(e.Edited))
				time.Sleep(51 * time.Second)
				s.take(make(map[time.Time]int))
				time.Sleep(time.Duration(tt.down) * time.Minute) // the last one is a second ago
				s.ticker("b")
				time.Sleep(5 * time.Second)
				ran := make(map[time.Time]int)
				s.take(ran)
				late := 0
				for at := range ran {
					if !at.After(down) || ran[at] != 1 {
						s.t.Errorf("tick %v ran %d times", at, ran[at])
					}
					late++
				}
				c, _, err := s.store.readCursor(s.ctx, queueName(), cronName("e"))
				if err != nil || late != tt.ran || c.Missed != tt.missed {
					s.t.Errorf("%d ran, want %d; cursor %+v, want %d missed; %v", late, tt.ran, c, tt.missed, err)
				}
				time.Sleep(time.Minute)
				if s.take(ran); len(ran) != late+1 {
					s.t.Errorf("%d ticks after the next one, want %d", len(ran), late+1)
				}
			})
		})
	}
}

// Ticks come where the clocks change as the schedule says, on virtual time.
func TestTicksWhereTheClocksChange(t *testing.T) {
	for _, tt := range []struct{ zone, schedule, begin string }{
		{"Europe/Amsterdam", "30 2 * * *", "2026-03-28T23:00:00Z"},
		{"Europe/Amsterdam", "*/30 2 * * *", "2026-10-24T22:00:00Z"},
		{"Australia/Lord_Howe", "15 2 * * *", "2026-10-03T13:00:00Z"},
		{"Australia/Lord_Howe", "45 1 * * *", "2026-04-04T13:00:00Z"},
		{"America/Santiago", "0 0 * * *", "2026-09-06T02:00:00Z"},
		{"America/Santiago", "30 23 * * *", "2026-04-05T01:00:00Z"},
	} {
		begin, err := time.Parse(time.RFC3339, tt.begin)
		if err != nil {
			t.Fatal(err)
		}
		natstest.BubbleAt(t, begin, func(t *testing.T, srv *natstest.Server) {
			s := &cronScene{scene: newScene(t, srv), crons: make(map[string]Cron)}
			s.ticker("a")
			s.ticker("b")
			schedule, err := cron.Parse(tt.schedule, tt.zone, begin)
			if err != nil {
				t.Fatal(err)
			}
			e := s.entry("@daily", cron.AllowOverlap, cron.CatchUpOne)
			e.Schedule = schedule
			e = s.put(e)
			time.Sleep(4 * time.Hour)
			if got, want := s.ready(), want(e, begin, time.Now()); len(want) == 0 || !sameTimes(got, want) {
				t.Errorf("%s in %s: %v, want %v", tt.schedule, tt.zone, got, want)
			}
		})
	}
}

// What was published ahead ends with its entry: when it is edited, removed, or moved to another
// queue, also if a worker has yet to hear of it.
func TestATickEndsWithItsEntry(t *testing.T) {
	inCronScene(t, func(s *cronScene) {
		s.ticker("a")
		s.ticker("b")
		first := s.put(s.entry("@every 1h", cron.SkipOverlap, cron.CatchUpOne))
		time.Sleep(10 * time.Second)
		if m, err := s.store.Find(s.ctx, testPlace("e")); err != nil || m.Tick == nil || m.Tick.Rev != first.Rev || !m.RunAt.Equal(first.Schedule.Next(first.Edited)) {
			s.t.Fatalf("published %+v, %v", m, err)
		}
		edited := s.put(s.entry("@every 2h", cron.SkipOverlap, cron.CatchUpOne))
		time.Sleep(10 * time.Second)
		m, err := s.store.Find(s.ctx, testPlace("e"))
		if err != nil || m.Tick.Rev != edited.Rev || !m.RunAt.Equal(edited.Schedule.Next(edited.Edited)) {
			s.t.Fatalf("after the edit: %+v, %v", m, err)
		}
		if last, err := s.store.LastEvent(s.ctx, testPlace("e")); err != nil || last.Reason != "superseded" {
			s.t.Errorf("the tick before ended as %+v, %v", last, err)
		}
		s.remove("e")
		time.Sleep(10 * time.Second)
		if left := s.waiting(); len(left) != 0 {
			s.t.Errorf("left: %v", left)
		}
	})
}

// A tick that is on its way when its entry is edited does not run, and holds the id of the same tick of
// the new revision until a worker ends it. That tick is not skipped for it: it comes then.
func TestATickWaitsForTheSupersededOne(t *testing.T) {
	for _, overlap := range []cron.Overlap{cron.AllowOverlap, cron.SkipOverlap} {
		inCronScene(t, func(s *cronScene) {
			s.ticker("a")
			s.ticker("b")
			e := s.put(s.entry("@every 1m", overlap, cron.CatchUpOne))
			time.Sleep(59*time.Second + time.Second/2)
			e.Job.Payload = []byte("[]")
			edited := s.put(e)
			time.Sleep(10 * time.Second) // the queue is somewhat behind
			ran, expected := make(map[ranBy]int), make(map[ranBy]int)
			s.run(ran)
			for range 20 {
				time.Sleep(5 * time.Second)
				s.run(ran)
			}
			for _, tick := range want(edited, edited.Edited, time.Now()) {
				expected[ranBy{tick.UTC(), edited.Rev}]++
			}
			s.compare(string(overlap), ran, expected)
			if c, _, err := s.store.readCursor(s.ctx, queueName(), cronName("e")); err != nil || c.Skipped != 0 || c.Missed != 0 {
				t.Errorf("cursor %+v, %v", c, err)
			}
		})
	}
}

// Entries are edited, removed and put again at random, while ticks come and workers are killed. A tick
// runs once, by the revision that was there when it was due, and none runs by another.
func TestEditsAtRandom(t *testing.T) {
	for seed := range *cronSeeds {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			inCronScene(t, func(s *cronScene) { s.editAtRandom(rand.New(rand.NewPCG(uint64(seed), 41)), testQueue) })
		})
	}
}

// ranBy is a tick and the revision that it ran by.
type ranBy struct {
	tick time.Time
	rev  uint64
}

// editAtRandom has entries in one of the queues, and kills workers in the middle of a write if there
// are several.
func (s *cronScene) editAtRandom(r *rand.Rand, queues ...string) {
	nodes := []*tickingNode{s.ticker("a"), s.ticker("b")}
	expected, ran := make(map[ranBy]int), make(map[ranBy]int)
	var current Cron
	next := func() Cron {
		schedules := []string{"@every 1s", "@every 3s", "@every 20s", "@every 2m", "* * * * *"}
		c := s.entry(schedules[r.IntN(len(schedules))], cron.AllowOverlap, cron.CatchUpOne)
		if r.IntN(4) == 0 {
			return s.remove("e")
		}
		if len(queues) > 1 {
			c.Job.Queue = queues[r.IntN(len(queues))]
		}
		return s.put(c)
	}
	for range campaign(10, 30) {
		before := current
		current = next()
		if before.Rev > 0 && !before.Removed {
			for _, tick := range want(before, before.Edited, current.Edited) {
				expected[ranBy{tick.UTC(), before.Rev}]++
			}
		}
		if r.IntN(3) == 0 {
			i := r.IntN(len(nodes))
			if len(queues) > 1 {
				nodes[i].crashAt(1+r.IntN(8), natstest.CutBefore)
				time.Sleep(time.Duration(r.Int64N(int64(3 * time.Second))))
			}
			nodes[i].stop()
			nodes[i] = s.ticker("again")
		}
		for until := time.Now().Add(time.Duration(r.Int64N(int64(90 * time.Second)))); time.Now().Before(until); {
			time.Sleep(time.Duration(1 + r.Int64N(int64(2*time.Second))))
			s.run(ran, queues...)
		}
	}
	before := current
	current = s.remove("e")
	if !before.Removed {
		for _, tick := range want(before, before.Edited, current.Edited) {
			expected[ranBy{tick.UTC(), before.Rev}]++
		}
	}
	time.Sleep(3 * time.Minute)
	s.run(ran, queues...)
	s.compare("at the end", ran, expected)
	if left := s.waiting(); len(left) != 0 && len(queues) == 1 {
		s.t.Errorf("left: %v", left)
	}
	for _, q := range queues {
		if _, later := s.ticksOf(q); later != 0 {
			s.t.Errorf("%d ticks are left in %s", later, q)
		}
	}
}

func (s *cronScene) compare(when string, ran, expected map[ranBy]int) {
	s.t.Helper()
	for k, n := range ran {
		if expected[k] != 1 || n != 1 {
			s.t.Errorf("%s: tick %v ran %d times by revision %d", when, k.tick, n, k.rev)
		}
	}
	for k := range expected {
		if ran[k] == 0 {
			s.t.Errorf("%s: tick %v did not run by revision %d", when, k.tick, k.rev)
		}
	}
}

// run takes what is ready out of its first queue, and out of others, as a worker would, and counts what
// it does not end by the entry as it is.
func (s *cronScene) run(ran map[ranBy]int, others ...string) {
	s.t.Helper()
	s.mu.Lock()
	e := s.crons["e"].Entry
	s.mu.Unlock()
	for _, q := range append([]string{testQueue}, others...) {
		jobs, _ := s.ticksOf(q)
		for _, r := range jobs {
			if e.Judge(cron.Tick{Rev: r.Tick.Rev, At: r.Tick.Time, Due: r.Due}, time.Now()) == cron.Runs {
				ran[ranBy{r.Tick.Time.UTC(), r.Tick.Rev}]++
			}
		}
	}
}
