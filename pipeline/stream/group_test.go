package stream_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

const partitions = 4

// inGroup is a scene whose stream S has partitions by the second token of what is published on s.<key>.
func inGroup(t *testing.T, f func(t *testing.T, s *scene)) {
	t.Helper()
	inGroupOf(t, partitions, f)
}

// inGroupOf is inGroup with another number of partitions.
func inGroupOf(t *testing.T, n int, f func(t *testing.T, s *scene)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		s := &scene{t: t, server: server, nc: server.Connect(t)}
		var err error
		if s.js, err = jetstream.New(s.nc); err != nil {
			t.Fatal(err)
		}
		s.makePartitions(n)
		f(t, s)
	})
}

// makePartitions makes stream S.
func (s *scene) makePartitions(n int) {
	s.t.Helper()
	cfg, err := stream.Partitioned(jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}}, n, 1)
	if err != nil {
		s.t.Fatal(err)
	}
	s.make(cfg)
}

type event struct {
	Key string
	N   int // of the key, from 1
}

// natsMessage is an event as it is published.
func natsMessage(subject string, e event) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{}, Data: fmt.Appendf(nil, `{"Key":%q,"N":%d}`, e.Key, e.N)}
}

// tell stores the next n events of each of some keys.
func (s *scene) tell(next map[string]int, keys, n int) {
	s.t.Helper()
	for range n {
		for k := range keys {
			key := "k" + strconv.Itoa(k)
			next[key]++
			if _, err := s.js.PublishMsgAsync(natsMessage("s."+key, event{key, next[key]})); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	<-s.js.PublishAsyncComplete()
}

func (s *scene) ordered(link *natstest.Link, change ...func(*stream.OrderedConfig)) *stream.Ordered[event] {
	s.t.Helper()
	c := stream.OrderedConfig{
		Stream: "S", Group: "g", Partitions: partitions, Subject: "s.{partition}.*", Logger: natstest.Logger(natstest.Output(s.t)),
		Dead: func(context.Context, *stream.Dead) error { s.t.Error("a message is dead"); return nil },
	}
	for _, f := range change {
		f(&c)
	}
	nc := s.nc
	if link != nil {
		nc = link.Connect(s.t)
	}
	o, err := stream.NewOrdered(nc, c, stream.JSON[event])
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

// startOrdered runs a pipeline over an ordered source, in the order of keys.
func startOrdered(t *testing.T, c pipeline.Config[event]) *running[event] {
	t.Helper()
	if c.OrderBy == nil {
		c.OrderBy = func(m *pipeline.Message[event]) string { return m.Value.Key }
	}
	return start(t, c)
}

// drainOrdered ends a member, which waits for what it has in hand.
func drainOrdered(t *testing.T, r *running[event]) {
	t.Helper()
	r.drain(t, time.Hour)
}

// A storedCursor is what a test wants to know of a cursor.
type storedCursor struct {
	Epoch, Seq uint64
	Folds      []struct{ Chunks string }
}

// cursors returns those of the first n partitions.
func (s *scene) cursors(n int) []storedCursor {
	s.t.Helper()
	state, err := s.js.Stream(s.t.Context(), "millhand-state")
	if err != nil {
		s.t.Fatal(err)
	}
	all := make([]storedCursor, n)
	for i := range all {
		m, err := state.GetLastMsgForSubject(s.t.Context(), fmt.Sprintf("millhand.state.g.%d", i))
		if err == nil {
			err = json.Unmarshal(m.Data, &all[i])
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return all
}

// chunks returns the names of the chunks of states that are stored, and how often each of them is named by a cursor.
func (s *scene) chunks() map[string]int {
	s.t.Helper()
	state, err := s.js.Stream(s.t.Context(), "millhand-state")
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := state.Info(s.t.Context(), jetstream.WithSubjectFilter("millhand.state.g.*.*.>"))
	if err != nil {
		s.t.Fatal(err)
	}
	named := map[string]int{}
	for subject := range info.State.Subjects {
		named[strings.Join(strings.Split(subject, ".")[3:5], ".")] = 0
	}
	for part, c := range s.cursors(partitions) {
		for _, f := range c.Folds {
			if f.Chunks != "" {
				named[fmt.Sprintf("%d.%s", part, f.Chunks)]++
			}
		}
	}
	return named
}

// owners returns the keys of partitions that have one.
func (s *scene) owners() (keys []string) {
	s.t.Helper()
	js, err := jetstream.New(s.nc)
	if err != nil {
		s.t.Fatal(err)
	}
	registry, err := js.KeyValue(s.t.Context(), "millhand-registry")
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := registry.ListKeysFiltered(s.t.Context(), "own.>")
	if err != nil {
		s.t.Fatal(err)
	}
	for key := range list.Keys() {
		keys = append(keys, key)
	}
	return keys
}

// sink is what all processes write to.
type sink struct{ seen[event] }

func (s *sink) process(_ context.Context, m *pipeline.Message[event]) error {
	s.add(m.Value)
	return nil
}

// check fails the test unless everything was handled, and each key's events first in their order. It returns
// how many were handled more than once.
func (s *sink) check(t *testing.T, want map[string]int) (repeated int) {
	t.Helper()
	first := map[string]int{}
	for i, e := range s.list() {
		switch {
		case e.N <= first[e.Key]:
			repeated++
		case e.N == first[e.Key]+1:
			first[e.Key]++
		default:
			t.Errorf("record %d: event %d of %s came before event %d", i, e.N, e.Key, first[e.Key]+1)
			first[e.Key] = e.N
		}
	}
	for key, n := range want {
		if first[key] != n {
			t.Errorf("%d events of %s were handled, want %d", first[key], key, n)
		}
	}
	return repeated
}

// seeds is how many campaigns of groups there are: more for an afternoon.
var seeds = flag.Int("seeds", 2, "how many campaigns of ordered groups are run")

// inCampaigns calls f with random numbers, several times.
func inCampaigns(t *testing.T, f func(t *testing.T, s *scene, random *rand.Rand)) {
	t.Helper()
	n := *seeds
	if testing.Short() {
		n = 1
	}
	for seed := range n {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			inGroup(t, func(t *testing.T, s *scene) {
				f(t, s, rand.New(rand.NewPCG(uint64(seed), 1))) //nolint:gosec // a seed
			})
		})
	}
}

// campaign has members of a group join, leave, crash, freeze and go on at random, under a load. In the end all that are
// left reach the broker.
func (s *scene) campaign(random *rand.Rand, next map[string]int, config func(*natstest.Link) pipeline.Config[event]) {
	s.t.Helper()
	type member struct {
		*running[event]
		link *natstest.Link
	}
	var members []*member
	join := func() {
		m := &member{link: s.server.Link()}
		c := config(m.link)
		c.Concurrency, c.InFlight = 4, 50
		m.running = startOrdered(s.t, c)
		members = append(members, m)
	}
	join()
	for range 40 {
		s.tell(next, 10, 1+random.IntN(5))
		if len(members) < 2 || len(members) < 5 && random.IntN(4) == 0 {
			join()
		}
		i := random.IntN(len(members))
		switch m := members[i]; random.IntN(8) {
		case 0:
			m.link.Release()
			drainOrdered(s.t, m.running)
			members = append(members[:i], members[i+1:]...)
		case 1:
			m.link.Crash()
			members = append(members[:i], members[i+1:]...)
		case 2:
			m.link.Hold()
		case 3, 4:
			m.link.Release()
		case 5:
			m.link.Cut()
		}
		time.Sleep(time.Duration(random.IntN(8000)) * time.Millisecond)
	}
	for _, m := range members {
		m.link.Release()
	}
	join()
}
