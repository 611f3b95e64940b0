package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// registryStream is what holds the entries.
const registryStream = "KV_millhand-registry"

// A tickScene is a broker with workers that run the ticks of entries and note them.
type tickScene struct {
	*testing.T
	server *natstest.Server
	client *millhand.Client
	js     jetstream.JetStream

	mu  sync.Mutex
	ran map[time.Time]map[string]int // payloads by tick
}

func newTickScene(t *testing.T, server *natstest.Server) *tickScene {
	t.Helper()
	s := &tickScene{T: t, server: server, ran: make(map[time.Time]map[string]int)}
	nc := server.Connect(t)
	var err error
	if s.client, err = millhand.NewClient(nc, millhand.Config{}); err != nil {
		t.Fatal(err)
	}
	if s.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return s
}

// hire starts a worker, which stop ends.
func (s *tickScene) hire(nc *nats.Conn, crons ...millhand.Cron) (stop func()) {
	s.Helper()
	mux := millhand.NewMux()
	mux.HandleFunc("report", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		tick := j.Tick.UTC()
		if s.ran[tick] == nil {
			s.ran[tick] = make(map[string]int)
		}
		s.ran[tick][string(j.Args.Payload)]++
		return nil, nil
	}, millhand.TypeConfig{})
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux, Crons: crons})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
}

func (s *tickScene) put(c millhand.Cron) {
	s.Helper()
	if err := s.client.PutCron(s.Context(), c); err != nil {
		s.Fatal(err)
	}
}

// checkEach fails unless each tick of a period in a span of time has run once, and none else has.
func (s *tickScene) checkEach(from, until time.Time, period time.Duration) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for tick := from.Truncate(period).Add(period); !tick.After(until); tick = tick.Add(period) {
		runs := 0
		for _, n := range s.ran[tick] {
			runs += n
		}
		if runs != 1 {
			s.Errorf("the tick of %s has %d jobs", tick.Format(time.TimeOnly), runs)
		}
		delete(s.ran, tick)
	}
	for tick := range maps.Keys(s.ran) {
		s.Errorf("%s is no tick", tick)
	}
}

func report(schedule, payload string) millhand.Cron {
	return millhand.Cron{
		Name: "e", Schedule: schedule, Args: millhand.Raw{Name: "report", Payload: []byte(payload)},
		Overlap: millhand.AllowOverlap, CatchUp: millhand.CatchUpAll,
	}
}

// deafen has the broker forget all who follow the registry. Whoever is behind the link can read a key of it
// and not follow it again.
func (s *tickScene) deafen(link *natstest.Link) {
	s.Helper()
	link.Watch(func(subject string) natstest.Fate {
		if strings.HasPrefix(subject, "$JS.API.") && strings.Contains(subject, registryStream) && !strings.HasPrefix(subject, "$JS.API.STREAM.MSG.GET.") {
			return natstest.Lost
		}
		return natstest.Pass
	})
	st, err := s.js.Stream(s.Context(), registryStream)
	if err != nil {
		s.Fatal(err)
	}
	for c := range st.ListConsumers(s.Context()).Info() {
		if err := st.DeleteConsumer(s.Context(), c.Name); err != nil {
			s.Fatal(err)
		}
	}
}

// An edit holds from the moment it was answered, also in a worker that has yet to hear of it.
func TestAnEditHoldsWhereNobodyHasHeardOfIt(t *testing.T) {
	for what, edit := range map[string]func(s *tickScene){
		"edited": func(s *tickScene) { s.put(report("* * * * *", "new")) },
		"removed": func(s *tickScene) {
			if err := s.client.DeleteCron(s.Context(), "e"); err != nil {
				s.Fatal(err)
			}
		},
	} {
		natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
			s := newTickScene(t, server)
			link := server.Link()
			defer s.hire(link.Connect(t))()
			s.put(report("* * * * *", "old"))
			time.Sleep(time.Minute - 500*time.Millisecond) // less than that, and it is on its way
			s.deafen(link)
			edit(s)
			time.Sleep(20 * time.Second)
			link.Watch(nil)
			time.Sleep(20 * time.Second)
			s.mu.Lock()
			defer s.mu.Unlock()
			for tick, ran := range s.ran {
				if ran["old"] > 0 {
					t.Errorf("%s: the tick of %v ran as it was before", what, tick)
				}
				if what == "edited" && ran["new"] != 1 {
					t.Errorf("%s: the tick of %v ran %d times", what, tick, ran["new"])
				}
			}
			if what == "edited" && len(s.ran) != 1 {
				t.Errorf("ran %v", s.ran)
			}
		})
	}
}

// The registry is lost while entries have ticks to come, and made again: by a worker, or by a person, whose
// revisions begin below those that cursors speak of. The entries come back, each tick has one job, and none
// is left out.
func TestTicksGoOnWhenTheRegistryIsLost(t *testing.T) {
	const period = 5 * time.Second
	for what, remake := range map[string]func(s *tickScene, cfg jetstream.StreamConfig){
		"made by a worker": func(*tickScene, jetstream.StreamConfig) {},
		"made by a person": func(s *tickScene, cfg jetstream.StreamConfig) {
			cfg.FirstSeq = 1
			if _, err := s.js.CreateStream(s.Context(), cfg); err != nil {
				s.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
				s := newTickScene(t, server)
				begun := time.Now().UTC()
				e := report("@every 5s", "a")
				defer s.hire(server.Connect(t), e)()
				stop := s.hire(server.Connect(t), e)
				defer stop()
				for range 3 {
					time.Sleep(22 * time.Second)
					s.lose(remake)
				}
				time.Sleep(time.Minute)
				stop() // and one that has never heard of the lost one
				defer s.hire(server.Connect(t), e)()
				time.Sleep(time.Minute)
				infos, err := s.client.Crons(t.Context())
				if err != nil || len(infos) != 1 || infos[0].Missed+infos[0].Skipped > 0 {
					t.Errorf("entries: %+v, %v", infos, err)
				}
				s.checkEach(begun, time.Now().Add(-time.Second), period)
			})
		})
	}
}

// The registry is lost, or put back by an hour, while no worker is there. The entries of the workers' file
// are back with the first of them, and go on.
func TestTicksGoOnWhenTheRegistryIsLostWithAllWorkersDown(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		s := newTickScene(t, server)
		e := report("* * * * *", "a")
		stop := s.hire(server.Connect(t), e)
		time.Sleep(10*time.Minute + 30*time.Second)
		stop()
		ran := len(s.ran)
		s.lose(func(s *tickScene, cfg jetstream.StreamConfig) {
			cfg.FirstSeq = 1
			if _, err := s.js.CreateStream(s.Context(), cfg); err != nil {
				s.Fatal(err)
			}
		})
		back := time.Now().UTC()
		defer s.hire(server.Connect(t), e)()
		time.Sleep(10 * time.Minute)
		s.checkEach(back.Add(-10*time.Minute-30*time.Second), time.Now().Add(-time.Second), time.Minute)
		if ran != 10 {
			t.Errorf("%d ticks ran before", ran)
		}
	})
}

// lose removes the registry's bucket, and then does something with its configuration.
func (s *tickScene) lose(then func(s *tickScene, cfg jetstream.StreamConfig)) {
	s.Helper()
	st, err := s.js.Stream(s.Context(), registryStream)
	if err != nil {
		s.Fatal(err)
	}
	if err := s.js.DeleteStream(s.Context(), registryStream); err != nil {
		s.Fatal(err)
	}
	then(s, st.CachedInfo().Config)
}

// A worker whose entry is one more than there may be says so and ends: nothing that it waits for would help.
func TestAWorkerEndsWhereThereIsNoRoomForItsEntry(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		s := newTickScene(t, server)
		s.put(report("* * * * *", "a"))
		value := []byte(`{"schedule":"@yearly","type":"report"}`)
		for i := range 9999 {
			if _, err := s.js.Publish(t.Context(), fmt.Sprintf("$KV.millhand-registry.cron.e%d", i), value); err != nil {
				t.Fatal(err)
			}
		}
		more := report("* * * * *", "a")
		more.Name = "more"
		mux := millhand.NewMux()
		mux.HandleFunc("report", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil }, millhand.TypeConfig{})
		w, err := millhand.NewWorker(server.Connect(t), millhand.WorkerConfig{Mux: mux, Crons: []millhand.Cron{more}})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(t.Context()); !errors.Is(err, millhand.ErrInvalid) || !strings.Contains(err.Error(), "there are 10000") {
			t.Errorf("ended with %v", err)
		}
	})
}
