package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/hash"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// Each event is handled once and in order, by a group of one, of several that come and go, and again of one.
func TestOrdered(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		s.tell(next, 20, 50)
		var out sink
		o := s.ordered(nil)
		p := startOrdered(t, pipeline.Config[event]{Source: o, Process: out.process})
		time.Sleep(10 * time.Second)
		s.tell(next, 20, 10)
		time.Sleep(time.Second)
		if lag := o.Lag(); len(lag) != partitions || lag[0].Messages+lag[1].Messages+lag[2].Messages+lag[3].Messages != 0 {
			t.Errorf("lag %v", lag)
		}
		p2 := startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
		time.Sleep(10 * time.Second)
		s.tell(next, 20, 10)
		p3 := startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
		time.Sleep(10 * time.Second)
		s.tell(next, 20, 10)
		time.Sleep(time.Second)
		drainOrdered(t, p)
		s.tell(next, 20, 10)
		time.Sleep(5 * time.Second) // others have its partitions
		if n := len(out.list()); n != 20*90 {
			t.Errorf("%d handled", n)
		}
		drainOrdered(t, p2)
		drainOrdered(t, p3)
		s.tell(next, 20, 10)
		p = startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
		time.Sleep(10 * time.Second)
		drainOrdered(t, p)
		if repeated := out.check(t, next); repeated > 0 {
			t.Errorf("%d were handled twice", repeated)
		}
	})
}

// One that crashed costs its lease, and what it had settled since its last commit. One that does not reach
// the broker for long stops by itself.
func TestOrderedCrash(t *testing.T) {
	for name, end := range map[string]func(*natstest.Link){
		"crash": (*natstest.Link).Crash, "hold": (*natstest.Link).Hold,
	} {
		t.Run(name, func(t *testing.T) {
			inGroup(t, func(t *testing.T, s *scene) {
				next := map[string]int{}
				var out sink
				link := s.server.Link()
				var causes seen[error]
				startOrdered(t, pipeline.Config[event]{Source: s.ordered(link), Concurrency: 20, Process: func(ctx context.Context, m *pipeline.Message[event]) error {
					if m.Value.N == 30 {
						<-ctx.Done()
						causes.add(context.Cause(ctx))
						return ctx.Err()
					}
					return out.process(ctx, m)
				}})
				time.Sleep(5 * time.Second)
				s.tell(next, 20, 20)
				time.Sleep(500 * time.Millisecond) // some of it may not be committed
				s.tell(next, 20, 20)
				time.Sleep(100 * time.Millisecond)
				end(link)
				startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
				time.Sleep(9 * time.Second)
				for _, err := range causes.list() {
					if !errors.Is(err, stream.ErrPartitionLost) {
						t.Errorf("the context of what was lost ended with %v", err)
					}
				}
				if n := len(causes.list()); n != 20 {
					t.Errorf("%d contexts have ended after 9 s", n)
				}
				time.Sleep(5 * time.Second)
				out.check(t, next)
				if name == "hold" {
					link.Release()
					s.tell(next, 20, 5)
					time.Sleep(20 * time.Second)
					out.check(t, next)
				}
			})
		})
	}
}

// Members join, leave, crash, freeze and go on at random, under a load, on a broker that is killed now and
// then: no gap, and each key's events first in their order.
func TestOrderedCampaign(t *testing.T) {
	inCampaigns(t, func(t *testing.T, s *scene, random *rand.Rand) {
		next := map[string]int{}
		var out sink
		s.campaign(random, next, func(link *natstest.Link) pipeline.Config[event] {
			return pipeline.Config[event]{Source: s.ordered(link), Process: func(ctx context.Context, e *pipeline.Message[event]) error {
				time.Sleep(time.Duration(hash.String(e.ID())%50) * time.Millisecond)
				return out.process(ctx, e)
			}}
		})
		time.Sleep(time.Minute)
		t.Logf("%d events, %d of them handled again", len(out.list()), out.check(t, next))
	})
}

// A message that fails is tried in place, holds its key, and nothing else; then it is dead, and the cursor
// passes it.
func TestOrderedFailures(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		s.tell(next, 4, 5)
		if _, err := s.js.Publish(t.Context(), "s.k0", []byte("hello")); err != nil {
			t.Fatal(err)
		}
		var out sink
		var dead seen[string]
		var down atomic.Int64
		down.Store(2)
		config := pipeline.Config[event]{
			OnFailure: pipeline.Failure{Attempts: 3, HoldKey: true},
			Source: s.ordered(nil, func(c *stream.OrderedConfig) {
				c.Dead = func(_ context.Context, d *stream.Dead) error {
					if down.Add(-1) >= 0 {
						return errors.New("down")
					}
					dead.add(d.ID() + " " + string(d.Reason))
					return nil
				}
			}),
			Process: func(ctx context.Context, m *pipeline.Message[event]) error {
				_ = out.process(ctx, m)
				if m.Value.Key == "k1" && m.Value.N == 2 {
					return errors.New("no")
				}
				return nil
			},
		}
		p := startOrdered(t, config)
		time.Sleep(10 * time.Minute)
		drainOrdered(t, p)
		if repeated := out.check(t, next); repeated != 2 {
			t.Errorf("%d further attempts", repeated)
		}
		startOrdered(t, config)
		time.Sleep(10 * time.Second)
		if all := dead.list(); len(all) != 2 || all[0] != "S/6 exhausted" && all[1] != "S/6 exhausted" || all[0] != "S/21 malformed" && all[1] != "S/21 malformed" {
			t.Errorf("dead: %q", all)
		}
		if n := len(out.list()); n != 22 {
			t.Errorf("%d calls", n)
		}
	})
}

// A stream that has lost messages is not read on as if nothing had been, until somebody says where.
func TestOrderedStreamIsShorter(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		s.tell(next, 4, 5)
		var out sink
		p := startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
		time.Sleep(10 * time.Second)
		drainOrdered(t, p)
		if err := s.js.DeleteStream(t.Context(), "S"); err != nil {
			t.Fatal(err)
		}
		s.makePartitions(partitions)
		s.tell(next, 4, 5) // as many as before
		p = startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
		err := p.wait(t)
		if !errors.Is(err, stream.ErrStreamShorter) {
			t.Errorf("Run returned %v", err)
		}
		group := stream.OrderedConfig{Stream: "S", Group: "g", Partitions: partitions}
		if err := stream.ResetGroup(t.Context(), s.nc, group, 1); err != nil {
			t.Fatal(err)
		}
		p = startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
		time.Sleep(15 * time.Second)
		out.check(t, next)
		drainOrdered(t, p)
		// With another number of partitions it goes on at the least cursor of the old ones.
		other := group
		other.Group = "h"
		if err := stream.Regroup(t.Context(), s.nc, group, other); err != nil {
			t.Fatal(err)
		}
		before := len(out.list())
		s.tell(next, 4, 1)
		startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil, func(c *stream.OrderedConfig) { c.Group = "h" }), Process: out.process})
		time.Sleep(15 * time.Second)
		out.check(t, next)
		if n := len(out.list()) - before; n < 4 || n > 4+20 {
			t.Errorf("%d handled by the new group", n)
		}
	})
}

// A key is where its hash says, with the broker as with us.
func TestPartitioned(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		for i := range 1000 {
			key := "customer-" + strconv.Itoa(i*i)
			ack, err := s.js.Publish(t.Context(), "s."+key, nil)
			if err != nil {
				t.Fatal(err)
			}
			m, err := s.s.GetMsg(t.Context(), ack.Sequence)
			if want := fmt.Sprintf("s.%d.%s", hash.Partition(key, partitions), key); err != nil || m.Subject != want {
				t.Fatalf("%s is stored on %s, want %s, %v", key, m.Subject, want, err)
			}
		}
	})
	for _, bad := range []struct {
		subjects    []string
		n, wildcard int
	}{{nil, 1, 1}, {[]string{"a.*", "b.*"}, 1, 1}, {[]string{"a.*"}, 0, 1}, {[]string{"a.*"}, 1, 2}, {[]string{"a.>"}, 1, 1}} {
		if _, err := stream.Partitioned(jetstream.StreamConfig{Subjects: bad.subjects}, bad.n, bad.wildcard); !errors.Is(err, stream.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestOrderedRefuses(t *testing.T) {
	inScene(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, func(t *testing.T, s *scene) {
		good := stream.OrderedConfig{Stream: "S", Group: "g", Dead: stream.Drop, Logger: slog.New(slog.DiscardHandler)}
		for name, change := range map[string]func(*stream.OrderedConfig){
			"no Dead": func(c *stream.OrderedConfig) { c.Dead = nil }, "no Stream": func(c *stream.OrderedConfig) { c.Stream = "" },
			"a Group": func(c *stream.OrderedConfig) { c.Group = "a.b" }, "no token": func(c *stream.OrderedConfig) { c.Partitions = 2 },
			"a negative number": func(c *stream.OrderedConfig) { c.Partitions = -1 }, "a negative Commit": func(c *stream.OrderedConfig) { c.Commit = -1 },
			"two beginnings": func(c *stream.OrderedConfig) { c.FromSeq, c.Since = 1, time.Now() }, "a namespace": func(c *stream.OrderedConfig) { c.Namespace = "a b" },
		} {
			bad := good
			change(&bad)
			if _, err := stream.NewOrdered(s.nc, bad, stream.JSON[event]); !errors.Is(err, stream.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		o, err := stream.NewOrdered(s.nc, good, stream.JSON[event])
		if err != nil {
			t.Fatal(err)
		}
		p := startOrdered(t, pipeline.Config[event]{Source: o, Process: func(context.Context, *pipeline.Message[event]) error { return nil }})
		err = p.wait(t)
		if !errors.Is(err, stream.ErrInvalid) {
			t.Errorf("of a work queue: %v", err)
		}
	})
}

// Whoever names fewer partitions than a group has, or more, is refused: some would be skipped, or begin anew.
func TestRegroupWithOtherPartitions(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		s.tell(map[string]int{}, 8, 5)
		p := startOrdered(t, pipeline.Config[event]{
			Source: s.ordered(nil), Process: func(context.Context, *pipeline.Message[event]) error { return nil },
		})
		time.Sleep(10 * time.Second)
		drainOrdered(t, p)
		to := stream.OrderedConfig{Stream: "S", Group: "h", Partitions: 2}
		for n, want := range map[int]error{0: stream.ErrInvalid, partitions - 1: stream.ErrInvalid, partitions: nil, partitions + 1: stream.ErrInvalid} {
			from := stream.OrderedConfig{Stream: "S", Group: "g", Partitions: n}
			if err := stream.Regroup(t.Context(), s.nc, from, to); !errors.Is(err, want) {
				t.Errorf("Regroup from %d partitions: %v", n, err)
			}
			if n > partitions {
				continue
			}
			if err := stream.ResetGroup(t.Context(), s.nc, from, 1); !errors.Is(err, want) {
				t.Errorf("ResetGroup of %d partitions: %v", n, err)
			}
		}
	})
}
