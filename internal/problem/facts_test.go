package problem_test

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// now is when the facts of these tests are of: 20 s after the end of the last minute that is summed up.
var now = time.Date(2026, 11, 29, 14, 2, 20, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// A scene is a namespace in which all is well: a worker serves email in the queue default, and each of the
// last twelve minutes has been summed up.
type scene struct {
	*problem.Facts
	queue  *view.Queue
	email  *view.Type
	worker *registry.Node
	stream *view.Stream
}

func newScene() *scene {
	exact := func(n int64) view.Count { return view.Counted(n, view.Exact, now) }
	s := &view.Snapshot{
		Namespace: "millhand", At: now, Dead: exact(0), Server: view.Server{Version: "2.15.2"},
		Queues: []view.Queue{{
			Name: "default", Messages: exact(1), Ready: exact(0), InHand: exact(0), Running: exact(0), Later: exact(0), Unclaimed: exact(0),
			Types: []view.Type{{
				Name: "email", Queue: "default", Ready: exact(0), InHand: exact(0), Running: exact(0), Claimed: exact(0), Oldest: view.Oldest{How: view.Exact},
				Consumer: true, Workers: 1, Pulls: 1, LastActive: ago(time.Hour),
				Info: &jetstream.ConsumerInfo{Config: jetstream.ConsumerConfig{AckWait: 30 * time.Second}},
			}},
		}},
		Workers: []registry.Node{{
			ID: "web-1-9f86d081", Host: "web-1", State: registry.Working, Started: ago(time.Hour), Seen: ago(time.Second), Concurrency: 16,
			Queues: []string{"default"}, Types: []string{"email"}, ByType: map[string]registry.Load{}, SlotsFree: new(16), DrainTimeout: 30,
		}},
		Streams: []view.Stream{
			{Name: "millhand-queue-default", Queue: "default", Bytes: exact(0), Info: &jetstream.StreamInfo{}},
			{Name: "millhand-events", Messages: exact(1000), Bytes: exact(0), FirstTime: ago(10 * time.Minute), Info: &jetstream.StreamInfo{Config: jetstream.StreamConfig{MaxMsgs: 2_000_000}}},
		},
	}
	f := &problem.Facts{Snapshot: s, Server: stream.Server{Version: "2.15.2", Level: 4}, Account: &problem.Account{Used: 1, Limit: -1}}
	for i := range 12 {
		f.Minutes = append(f.Minutes, minuteOf(ago(20*time.Second+time.Duration(12-i)*time.Minute)))
	}
	return &scene{f, &s.Queues[0], &s.Queues[0].Types[0], &s.Workers[0], &s.Streams[1]}
}

func minuteOf(at time.Time) *tally.Record {
	return &tally.Record{At: at, Periods: []*tally.Period{{At: at, Sums: make(tally.Sums), Backlog: &tally.Backlog{Samples: 1}}}}
}

// waits has jobs of email be ready for some time, none of which was handed out.
func (s *scene) waits(n int64, since time.Duration) {
	s.email.Ready = view.Counted(n, view.Exact, now)
	s.queue.Ready = s.email.Ready
	s.email.Oldest = view.Oldest{How: view.Exact, Seq: 7, At: ago(since)}
	s.email.Pulls = 0
	s.worker.SlotsFree = new(0)
}

// runs has a job of email run for some time.
func (s *scene) runs(since time.Duration) {
	s.email.Running = view.Counted(1, view.Exact, now)
	s.email.InHand, s.email.Claimed = s.email.Running, s.email.Running
	s.worker.Running = []registry.Running{{ID: "a", Type: "email", Queue: "default", Since: ago(since)}}
	s.worker.RunningTotal = 1
	s.worker.ByType["default/email"] = registry.Load{Run: 1, Hand: 1}
}

// counted has so many of something be counted in the minute that ended so many minutes ago.
func (s *scene) counted(minutesAgo int, what tally.Counter, n uint64) *tally.Counts {
	p := s.Minutes[len(s.Minutes)-1-minutesAgo].Periods[0]
	pair := tally.Pair{Queue: "default", Type: "email"}
	if p.Sums[pair] == nil {
		p.Sums[pair] = new(tally.Counts)
	}
	p.Sums[pair].N[what] += n
	return p.Sums[pair]
}

// took has runs be counted that took so long.
func (s *scene) took(minutesAgo int, d time.Duration) {
	book := tally.NewBook()
	l := book.Of("default", "email")
	for range 10 {
		l.Ran(d)
		l.Ended(job.EventSucceeded, "")
	}
	sums := book.Read(now, nil)
	s.Minutes[len(s.Minutes)-1-minutesAgo].Periods[0].Sums.AddAll(sums)
}

// late has jobs be counted that were made ready so late.
func (s *scene) late(minutesAgo int, d time.Duration) {
	book := tally.NewBook()
	book.Of("default", "email").Fired(d)
	s.Minutes[len(s.Minutes)-1-minutesAgo].Periods[0].Sums.AddAll(book.Read(now, nil))
}

// saw has the last minute's look have seen a sign.
func (s *scene) saw(c problem.Code, subject string, since time.Duration) {
	b := s.Minutes[len(s.Minutes)-1].Periods[0].Backlog
	b.Signs = append(b.Signs, tally.Sign{Code: string(c), Subject: subject, Since: ago(since)})
}
