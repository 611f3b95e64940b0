package queue

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/natstest"
)

var cronSeeds = flag.Int("cron-seeds", 1, "of workers that are killed, frozen and started again while they publish ticks")

// campaign is how much a test of ticks does: few, or many where there are seeds for a campaign.
func campaign(few, many int) int {
	if *cronSeeds == 1 {
		return few
	}
	return many
}

// take takes what is ready out of the queue, as if it had run, and counts the jobs of each tick.
func (s *cronScene) take(ran map[time.Time]int) {
	s.t.Helper()
	jobs, _ := s.ticksOf(testQueue)
	for _, r := range jobs {
		ran[r.Tick.Time.UTC()]++
	}
}

// Workers are killed, frozen for up to some minutes, and started again, in the middle of whatever
// they do; and the broker is restarted. Each tick has one job all the same.
func TestEachTickHasOneJobWhateverHappensToWorkers(t *testing.T) {
	for seed := range *cronSeeds {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, srv *natstest.Server) {
				// What is frozen is late, and not cut off.
				srv.Stop()
				srv.Configure = func(o *server.Options) { o.PingInterval = 24 * time.Hour }
				srv.Start(t)
				s := &cronScene{scene: newScene(t, srv), crons: make(map[string]Cron)}
				s.chaos(rand.New(rand.NewPCG(uint64(seed), 40)))
			})
		})
	}
}

func (s *cronScene) chaos(r *rand.Rand) {
	ticks := campaign(50, 200)
	periods := []time.Duration{time.Second, 7 * time.Second, 30 * time.Second}
	period := periods[r.IntN(len(periods))]
	nodes := make([]*tickingNode, 5)
	for i := range nodes {
		nodes[i] = s.ticker(fmt.Sprint("n", i))
	}
	begun := time.Now()
	e := s.put(s.entry("@every "+period.String(), cron.AllowOverlap, cron.CatchUpAll))
	until := begun.Add(time.Duration(ticks) * period)
	ran := make(map[time.Time]int)
	type thaw struct {
		node *tickingNode
		at   time.Time
	}
	var frozen []thaw
	for time.Now().Before(until) {
		time.Sleep(time.Duration(r.Int64N(int64(4 * period))))
		i := r.IntN(len(nodes))
		switch r.IntN(4) {
		case 0:
			nodes[i].stop()
			nodes[i] = s.ticker(fmt.Sprint("n", i))
		case 1:
			nodes[i].link.Hold()
			frozen = append(frozen, thaw{nodes[i], time.Now().Add(time.Duration(r.Int64N(int64(40 * period))))})
		case 2: // in the middle of a write
			fates := []natstest.Fate{natstest.CutBefore, natstest.CutAfter, natstest.Lost}
			left, fate := 1+r.IntN(4), fates[r.IntN(len(fates))]
			nodes[i].link.Watch(func(string) natstest.Fate {
				if left--; left == 0 {
					return fate
				}
				return natstest.Pass
			})
		}
		for j, f := range frozen {
			if f.node != nil && !f.at.After(time.Now()) {
				f.node.link.Release()
				frozen[j].node = nil
			}
		}
		s.take(ran)
	}
	for _, f := range frozen {
		if f.node != nil {
			f.node.link.Release()
		}
	}
	time.Sleep(time.Minute + 2*period)
	s.take(ran)
	for _, tick := range want(e, begun, until) {
		if ran[tick] != 1 {
			s.t.Errorf("tick %v has %d jobs", tick.Sub(begun), ran[tick])
		}
	}
	c, _, err := s.store.readCursor(s.ctx, queueName(), cronName("e"))
	if err != nil || c.Missed != 0 || c.Skipped != 0 {
		s.t.Errorf("cursor %+v, %v", c, err)
	}
}

// A batch that is on its way for an hour is refused, whatever has become of its entry.
func TestABatchThatIsAnHourLateIsRefused(t *testing.T) {
	for _, overlap := range []cron.Overlap{cron.AllowOverlap, cron.SkipOverlap} {
		natstest.Bubble(t, func(t *testing.T, srv *natstest.Server) {
			srv.Stop()
			srv.Configure = func(o *server.Options) { o.PingInterval = 24 * time.Hour }
			srv.Start(t)
			s := &cronScene{scene: newScene(t, srv), crons: make(map[string]Cron)}
			late := s.ticker("late")
			s.put(s.entry("@every 10m", overlap, cron.CatchUpOne))
			batches := 0
			late.link.Watch(func(subject string) natstest.Fate {
				if subject == s.store.names.cron(queueName(), cronName("e")) {
					if batches++; batches == 2 {
						late.link.Hold()
					}
				}
				return natstest.Pass
			})
			time.Sleep(11 * time.Minute)
			synctest.Wait()
			if batches != 2 {
				t.Fatalf("%d batches", batches)
			}
			s.ticker("other")
			ran := make(map[time.Time]int)
			for range 60 {
				time.Sleep(time.Minute)
				s.take(ran)
			}
			late.link.Release()
			for range 20 {
				time.Sleep(time.Minute)
				s.take(ran)
			}
			for tick, n := range ran {
				if n != 1 {
					t.Errorf("%s: tick %v has %d jobs", overlap, tick, n)
				}
			}
			if len(ran) != 9 {
				t.Errorf("%s: %d ticks had jobs: %v", overlap, len(ran), ran)
			}
		})
	}
}
