package stats_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/tally"
)

// How large the cluster of [TestClusterWithKilledMergers] is: by hand 200 workers of 20 types for an
// hour, docs/performance.md.
var (
	clusterWorkers = flag.Int("stats.workers", 5, "workers of the cluster")
	clusterTypes   = flag.Int("stats.types", 2, "types of jobs that each of them runs")
	clusterMinutes = flag.Int("stats.minutes", 12, "how long it is watched")
)

// shift is what one worker counted, and when.
type shift struct {
	at   time.Time
	jobs uint64
}

// All workers of a cluster are busy, and every five minutes the one that is about to write the sum
// dies. No minute is without a sum, and what is missing is what the dead had not sent.
func TestClusterWithKilledMergers(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := newCrew(s)
		random := rand.New(rand.NewPCG(1, 2))
		begin := time.Now()
		victims := make(chan *hand, *clusterWorkers)
		worked := make(map[*hand][]shift)
		hired := 0
		hire := func() {
			hired++
			worked[c.hire(t, fmt.Sprintf("worker-%d", hired))] = nil
		}
		for range *clusterWorkers {
			hire()
		}
		var counted, lost uint64
		for tick := range *clusterMinutes * 6 {
			deadly := tick > 30 && tick%30 == 1 // the minute that ended ten seconds ago is summed up in two
			for h := range worked {
				h.link.Watch(nil)
				if deadly {
					h.link.Watch(func(subject string) natstest.Fate {
						if subject != "millhand.stats.1m" || len(victims) > 0 {
							return natstest.Pass
						}
						victims <- h
						h.link.Down()
						return natstest.CutBefore
					})
				}
				n := uint64(0)
				for typ := range *clusterTypes {
					l := h.book.Of("default", fmt.Sprintf("type-%d", typ))
					for range random.IntN(10) {
						n++
						l.Started(time.Duration(random.Int64N(int64(time.Second))))
						l.Ran(time.Duration(random.Int64N(int64(time.Minute))))
						l.Ended(job.EventSucceeded, "")
					}
				}
				counted += n
				worked[h] = append(worked[h], shift{time.Now(), n})
			}
			time.Sleep(10 * time.Second)
			select {
			case h := <-victims:
				for _, s := range worked[h] {
					if time.Since(s.at) < 20*time.Second {
						lost += s.jobs
					}
				}
				delete(worked, h)
				c.kill(h)
				hire()
			default:
			}
		}
		for h := range worked {
			h.link.Watch(nil)
			h.quit()
			if _, _, dropped := h.recorder.Records(); dropped > 0 {
				t.Errorf("%s dropped %d records", h.name, dropped)
			}
		}
		if got, want := hired-*clusterWorkers, (*clusterMinutes-1)/5; got != want {
			t.Errorf("%d were killed, want %d", got, want)
		}
		series := history(t, newStore(t, s.Connect(t), c.log), stats.Query{From: begin, Until: time.Now()})
		got := series.Lines[0].Total.N[tally.Succeeded]
		if got > counted || got < counted-lost {
			t.Errorf("%d in the history, want %d without up to %d of the dead", got, counted, lost)
		}
		for i, b := range series.Backlog[:*clusterMinutes-1] {
			if b == nil {
				t.Errorf("minute %d has no sum", i)
			}
		}
		t.Logf("%d jobs, %d of them in the history, %d workers killed", counted, got, hired-*clusterWorkers)
	})
}
