package stats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
)

func newStore(t natstest.TB, nc *nats.Conn, log *slog.Logger) *stats.Store {
	t.Helper()
	js, err := stream.New(nc, stream.Config{Logger: log})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return stats.NewStore(js, log)
}

// A crew are workers that count what never ran, record it, and sum it up.
type crew struct {
	server *natstest.Server
	log    *slog.Logger

	blind bool // they do not know of each other, and come at the same time

	stored atomic.Int64 // minutes that somebody was told are stored

	mu   sync.Mutex
	here map[string]*hand
}

// A hand is a worker of the crew.
type hand struct {
	name     string
	link     *natstest.Link
	nc       *nats.Conn
	book     *tally.Book
	recorder *stats.Recorder
	stop     context.CancelFunc
	ended    sync.WaitGroup
}

func newCrew(s *natstest.Server) *crew {
	return &crew{server: s, here: make(map[string]*hand), log: slog.New(slog.DiscardHandler)}
}

// hire starts a worker.
func (c *crew) hire(t natstest.TB, name string) *hand {
	t.Helper()
	h := &hand{name: name, link: c.server.Link(), book: tally.NewBook()}
	h.nc = h.link.Connect(t)
	store := newStore(t, h.nc, c.log)
	counting := stats.Counting{
		Node: name, Counted: func() tally.Sums { return h.book.Read(time.Now(), nil) },
		Ahead: func() time.Duration { return 0 },
	}
	h.recorder = stats.NewRecorder(store, counting)
	merger := stats.NewMerger(store, counting, c.names, func(context.Context, *tally.Record) (*tally.Backlog, func(), error) {
		return &tally.Backlog{Samples: 1, Workers: tally.One(1)}, func() { c.stored.Add(1) }, nil
	})
	var ctx context.Context
	ctx, h.stop = context.WithCancel(context.Background())
	t.Cleanup(h.quit)
	c.mu.Lock()
	c.here[name] = h
	c.mu.Unlock()
	for _, run := range []func(context.Context) error{h.recorder.Run, merger.Run} {
		h.ended.Go(func() {
			if err := run(ctx); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		})
	}
	return h
}

// names are the workers there are, those that were killed a moment ago included.
func (c *crew) names(context.Context) (all []string, _ error) {
	if c.blind {
		return nil, errors.New("blind")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.here {
		all = append(all, name)
	}
	return all, nil
}

// quit stops a worker as an operator does.
func (h *hand) quit() {
	h.stop()
	h.ended.Wait()
}

// kill ends it so that nothing more leaves it.
func (c *crew) kill(h *hand) {
	h.link.Crash()
	h.quit()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.here, h.name)
}

// work counts n jobs.
func (h *hand) work(typ string, n int) {
	l := h.book.Of("default", typ)
	for range n {
		l.Started(time.Second)
		l.Ran(time.Minute)
		l.Ended(job.EventSucceeded, "")
	}
}

func history(t natstest.TB, s *stats.Store, q stats.Query) *tally.Series {
	t.Helper()
	series, err := s.History(context.Background(), q)
	if err != nil {
		t.Fatalf("history: %v", err)
	}
	return series
}

// trouble has one of the messages that a worker sends next come to grief.
func (h *hand) trouble(at int, fate natstest.Fate, down bool) {
	seen := 0
	h.link.Watch(func(string) natstest.Fate {
		seen++
		switch {
		case seen < at, seen > at && !down:
			return natstest.Pass
		case down:
			h.link.Down()
		}
		return fate
	})
}

// Whatever becomes of those who sum up, at whatever step, and however many try at a time: each job is
// counted once, in steps of minutes, ten minutes and hours.
func TestSumsAreWhatWasCounted(t *testing.T) {
	natstest.Check(t, func(t *rapid.T, s *natstest.Server) {
		c := newCrew(s)
		time.Sleep(53*time.Minute + 30*time.Second) // an hour ends soon
		c.blind = rapid.Bool().Draw(t, "blind")
		began := time.Now()
		counters := []*hand{c.hire(t, "counter-a"), c.hire(t, "counter-b")}
		mergers := make([]*hand, rapid.IntRange(0, 3).Draw(t, "mergers"))
		hired := 0
		hire := func() *hand {
			hired++
			return c.hire(t, fmt.Sprintf("merger-%d", hired))
		}
		for i := range mergers {
			mergers[i] = hire()
		}
		fates := []natstest.Fate{natstest.CutBefore, natstest.CutAfter, natstest.Lost}
		want := make(map[string]uint64)
		for range 8 { // minutes
			for _, h := range counters {
				n := rapid.IntRange(0, 9).Draw(t, "jobs")
				typ := rapid.SampledFrom([]string{"email", "import"}).Draw(t, "type")
				h.work(typ, n)
				want[typ] += uint64(n)
				if rapid.Bool().Draw(t, "trouble") {
					h.trouble(rapid.IntRange(1, 16).Draw(t, "at"), rapid.SampledFrom(fates).Draw(t, "fate"), false)
				}
			}
			for _, h := range mergers {
				h.trouble(rapid.IntRange(1, 12).Draw(t, "at"), rapid.SampledFrom(fates).Draw(t, "fate"), rapid.Bool().Draw(t, "killed"))
			}
			time.Sleep(time.Minute)
			for i, h := range mergers {
				if h.nc.IsConnected() {
					h.link.Watch(nil)
					continue
				}
				c.kill(h)
				mergers[i] = hire()
			}
		}
		for _, h := range counters {
			h.link.Watch(nil)
			h.quit()
			if _, _, dropped := h.recorder.Records(); dropped > 0 {
				t.Errorf("%d records dropped", dropped)
			}
		}
		reader := newStore(t, s.Connect(t), c.log)
		for _, back := range []time.Duration{0, 24 * time.Hour, 30 * 24 * time.Hour} {
			series := history(t, reader, stats.Query{From: began.Add(-back), Until: time.Now(), By: tally.ByType})
			got := make(map[string]uint64)
			for _, l := range series.Lines {
				got[l.Type] = l.Total.N[tally.Succeeded]
				if n := l.Total.Histogram(tally.Run).Count(); n != got[l.Type] {
					t.Errorf("%d runs and %d ends of %s", n, got[l.Type], l.Type)
				}
			}
			maps.DeleteFunc(want, func(_ string, n uint64) bool { return n == 0 })
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("in steps of %v:\n%s", series.Step, d)
			}
		}
		for _, h := range mergers {
			h.quit()
		}
		if minutes := c.minutes(t); c.stored.Load() > minutes {
			t.Errorf("told of %d minutes that they are stored, and there are %d", c.stored.Load(), minutes)
		}
	})
}

// minutes returns how many sums of minutes are stored.
func (c *crew) minutes(t natstest.TB) int64 {
	t.Helper()
	js, err := jetstream.New(c.server.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(context.Background(), "millhand-stats")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(context.Background(), jetstream.WithSubjectFilter("millhand.stats.1m"))
	if err != nil {
		t.Fatal(err)
	}
	return int64(info.State.Subjects["millhand.stats.1m"]) //nolint:gosec // some
}

// A worker's counts are in the history ten seconds later, and all of them once it has stopped.
func TestHistory(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := newCrew(s)
		h := c.hire(t, "hand")
		reader := newStore(t, s.Connect(t), c.log)
		begin := time.Now()
		got := func() (all []uint64) {
			series := history(t, reader, stats.Query{From: begin, Until: time.Now()})
			for _, l := range series.Lines {
				for _, p := range l.Points {
					if p.Counts == nil {
						all = append(all, 0)
						continue
					}
					all = append(all, p.N[tally.Succeeded])
				}
			}
			return all
		}
		if all := got(); all != nil {
			t.Errorf("%v before anything", all)
		}
		h.work("email", 3)
		time.Sleep(12 * time.Second)
		if d := cmp.Diff([]uint64{3}, got()); d != "" {
			t.Errorf("after 12 s:\n%s", d)
		}
		time.Sleep(3 * time.Minute)
		h.work("email", 4)
		h.quit()
		if d := cmp.Diff([]uint64{3, 0, 0, 4}, got()); d != "" {
			t.Errorf("after 3 min:\n%s", d)
		}
		synctest.Wait()
	})
}

// A record whose answer is lost is sent again, and counted once; one that the broker may have
// forgotten is given up, rather than counted twice.
func TestLostAnswers(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := newCrew(s)
		h := c.hire(t, "hand")
		reader := newStore(t, s.Connect(t), c.log)
		begin := time.Now()
		time.Sleep(3 * time.Second)
		lose := func(d time.Duration) {
			until := time.Now().Add(d)
			h.link.Watch(func(subject string) natstest.Fate {
				if strings.HasPrefix(subject, "millhand.stats.node.") && time.Now().Before(until) {
					return natstest.CutAfter
				}
				return natstest.Pass
			})
		}
		lose(time.Minute)
		h.work("email", 3)
		time.Sleep(90 * time.Second)
		if stored, resent, dropped := h.recorder.Records(); stored != 1 || resent == 0 || dropped != 0 {
			t.Errorf("%d stored, %d sent again, %d dropped, want one that was sent again", stored, resent, dropped)
		}
		lose(5 * time.Minute)
		h.work("email", 4)
		time.Sleep(6 * time.Minute)
		if _, _, dropped := h.recorder.Records(); dropped != 1 {
			t.Errorf("%d dropped, want 1", dropped)
		}
		h.work("email", 5)
		h.quit()
		series := history(t, reader, stats.Query{From: begin, Until: time.Now()})
		if got := series.Lines[0].Total.N[tally.Succeeded]; got != 3+4+5 { // the four were stored, though nobody was told
			t.Errorf("%d jobs in the history, want 12", got)
		}
	})
}

// While the broker is away nothing is lost for ten minutes.
func TestOutage(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := newCrew(s)
		h := c.hire(t, "hand")
		begin := time.Now()
		time.Sleep(5 * time.Second) // what is counted within two seconds of a minute's end may be in either
		s.Stop()
		for range 9 {
			h.work("email", 1)
			time.Sleep(time.Minute)
		}
		s.Start(t)
		time.Sleep(time.Minute)
		reader := newStore(t, s.Connect(t), c.log)
		series := history(t, reader, stats.Query{From: begin, Until: time.Now()})
		minutes := 0
		for _, p := range series.Lines[0].Points {
			if p.Counts != nil && p.N[tally.Succeeded] == 1 {
				minutes++
			}
		}
		if minutes != 9 {
			t.Errorf("%d minutes have their job, want 9", minutes)
		}
	})
}

// A broker that refuses statistics is told of once, and asked again now and then.
func TestRefused(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		foreign := jetstream.StreamConfig{Name: "millhand-stats", Subjects: []string{"theirs"}}
		if _, err := js.CreateStream(t.Context(), foreign); err != nil {
			t.Fatal(err)
		}
		c := newCrew(s)
		var log bytes.Buffer
		c.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		h := c.hire(t, "hand")
		h.work("email", 1)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "no statistics are kept of this worker") {
			t.Errorf("%d warnings, want one:\n%s", n, &log)
		}
		if err := js.DeleteStream(t.Context(), foreign.Name); err != nil {
			t.Fatal(err)
		}
		h.work("email", 2)
		time.Sleep(11 * time.Minute)
		if stored, _, _ := h.recorder.Records(); stored == 0 {
			t.Error("nothing is stored eleven minutes after the stream could be made")
		}
	})
}

// What others write into the stream stops nobody, and is in no sum.
func TestForeignRecords(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := newCrew(s)
		h := c.hire(t, "hand")
		begin := time.Now()
		nc := s.Connect(t)
		reader := newStore(t, nc, c.log)
		for i := range 5 {
			time.Sleep(time.Minute)
			h.work("email", 1)
			for _, of := range []string{"node.stranger", "1m", "10m"}[:1+i%3] {
				if err := nc.Publish("millhand.stats."+of, []byte(`{"at":`)); err != nil {
					t.Fatal(err)
				}
			}
			future := `{"at":"2100-01-01T00:00:00Z","up_to":1,"periods":[null,{"at":"2100-01-01T00:00:00Z","queues":{"q":{"t":null}}}]}`
			if err := nc.Publish("millhand.stats.node.stranger", []byte(future)); err != nil {
				t.Fatal(err)
			}
		}
		h.quit()
		series := history(t, reader, stats.Query{From: begin, Until: time.Now()})
		if got := series.Lines[0].Total.N[tally.Succeeded]; got == 0 || got > 5 {
			t.Errorf("%d jobs in the history, want up to 5", got)
		}
	})
}

// Three of the workers sum up a minute, and they take turns.
func TestMergersTakeTurns(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := newCrew(s)
		wrote := make(map[string]int)
		var mu sync.Mutex
		for i := range 6 {
			h := c.hire(t, fmt.Sprintf("hand-%d", i))
			h.link.Watch(func(subject string) natstest.Fate {
				mu.Lock()
				defer mu.Unlock()
				if subject == "millhand.stats.1m" {
					wrote[h.name]++
				}
				return natstest.Pass
			})
		}
		time.Sleep(60*time.Minute + 30*time.Second)
		mu.Lock()
		defer mu.Unlock()
		sum := 0
		for _, n := range wrote {
			sum += n
		}
		if sum != 61 || len(wrote) < 4 {
			t.Errorf("%d minutes were summed up by %d of six workers: %v", sum, len(wrote), wrote)
		}
		reader := newStore(t, s.Connect(t), c.log)
		series := history(t, reader, stats.Query{From: time.Now().Add(-time.Hour), Until: time.Now()})
		for i, b := range series.Backlog[:59] {
			if b == nil || b.Samples != 1 {
				t.Errorf("minute %d has %+v of what waited, want a sample", i, b)
			}
		}
		hours := history(t, reader, stats.Query{From: time.Now().Add(-30 * 24 * time.Hour), Until: time.Now()})
		if last := hours.Backlog[len(hours.Backlog)-2]; last == nil || last.Samples < 59 {
			t.Errorf("the hour has %+v of what waited, want its samples", last)
		}
	})
}

// The sum of an hour has what was counted until it was written, so its last period has not ended.
func TestNoEndIsYetToCome(t *testing.T) {
	natstest.BubbleAt(t, time.Date(2000, time.January, 1, 1, 0, 5, 0, time.UTC), func(t *testing.T, s *natstest.Server) {
		h := newCrew(s).hire(t, "w")
		h.work("email", 3)
		time.Sleep(10 * time.Minute)
		past, err := newStore(t, s.Connect(t), slog.New(slog.DiscardHandler)).Past(t.Context(), time.Now().Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		got := past[tally.Pair{Queue: "default", Type: "email"}]
		if got == nil || time.Since(got.LastEnd) < 9*time.Minute || time.Since(got.LastEnd) > 10*time.Minute {
			t.Errorf("%+v, want an end of ten minutes ago", got)
		}
	})
}
