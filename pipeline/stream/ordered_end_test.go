package stream_test

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// A group begins at the next message at the latest: a cursor that is further would be that of another stream.
func TestOrderedBeginsBeyondTheEnd(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		s.tell(next, 4, 5)
		group := stream.OrderedConfig{Stream: "S", Group: "g", Partitions: partitions}
		at := func(seq uint64) func(*stream.OrderedConfig) {
			return func(c *stream.OrderedConfig) { c.FromSeq = seq }
		}
		var out sink
		p := startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil, at(22)), Process: out.process})
		if err := p.wait(t); !errors.Is(err, stream.ErrInvalid) || !strings.Contains(err.Error(), "FromSeq is 22") || !strings.Contains(err.Error(), "21") {
			t.Errorf("from 22 of 20: %v", err)
		}
		for range 2 { // the second time there is a cursor
			p = startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil, at(21)), Process: out.process})
			time.Sleep(10 * time.Second)
			drainOrdered(t, p)
		}
		if n := len(out.list()); n > 0 {
			t.Errorf("%d of before were handled", n)
		}
		if err := stream.ResetGroup(t.Context(), s.nc, group, 22); !errors.Is(err, stream.ErrInvalid) || !strings.Contains(err.Error(), "21") {
			t.Errorf("reset to 22 of 20: %v", err)
		}
		if err := stream.ResetGroup(t.Context(), s.nc, group, 21); err != nil {
			t.Error(err)
		}
		s.tell(next, 4, 1)
		p = startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
		time.Sleep(15 * time.Second)
		drainOrdered(t, p)
		if n := len(out.list()); n != 4 {
			t.Errorf("%d of 4 were handled", n)
		}
	})
}

// What happens to a stream while it is read: what is purged does not come, and one that was made again is not read on as
// if it were the one before.
func TestOrderedStreamChanges(t *testing.T) {
	start := func(t *testing.T, s *scene, out *sink) (next map[string]int, p *running[event]) {
		t.Helper()
		next = map[string]int{}
		p = startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
		time.Sleep(5 * time.Second)
		s.tell(next, 4, 5)
		time.Sleep(5 * time.Second)
		if n := len(out.list()); n != 20 {
			t.Fatalf("%d of 20 are handled", n)
		}
		return next, p
	}
	t.Run("purged", func(t *testing.T) {
		inGroup(t, func(t *testing.T, s *scene) {
			var out sink
			next, p := start(t, s, &out)
			if err := s.s.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.tell(next, 4, 5)
			time.Sleep(15 * time.Second)
			drainOrdered(t, p)
			startOrdered(t, pipeline.Config[event]{Source: s.ordered(nil), Process: out.process})
			s.tell(next, 4, 5)
			time.Sleep(15 * time.Second)
			if repeated := out.check(t, next); repeated > 0 {
				t.Errorf("%d were handled twice", repeated)
			}
		})
	})
	t.Run("made again", func(t *testing.T) {
		inGroup(t, func(t *testing.T, s *scene) {
			var out sink
			next, p := start(t, s, &out)
			if err := s.js.DeleteStream(t.Context(), "S"); err != nil {
				t.Fatal(err)
			}
			s.makePartitions(partitions)
			s.tell(next, 4, 20)
			if err := p.wait(t); !errors.Is(err, stream.ErrStreamShorter) || !strings.Contains(err.Error(), "ResetGroup") {
				t.Errorf("Run returned %v", err)
			}
			if n := len(out.list()); n != 20 {
				t.Errorf("%d are handled", n-20)
			}
		})
	})
}

// A cursor that nobody can read ends the pipeline with what helps, which then does.
func TestCursorThatCannotBeRead(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		s.tell(next, 8, 5)
		var out sink
		config := func() pipeline.Config[event] {
			return pipeline.Config[event]{Source: s.ordered(nil), Process: out.process}
		}
		p := startOrdered(t, config())
		time.Sleep(5 * time.Second)
		garble := func() {
			if _, err := s.js.Publish(t.Context(), "millhand.state.g.2", []byte(`{"epoch":1,"seq":9,"done":[[5,4]]}`)); err != nil {
				t.Fatal(err)
			}
		}
		says := func(err error) bool {
			return err != nil && strings.Contains(err.Error(), "partition 2 of group g") && strings.Contains(err.Error(), "ResetGroup")
		}
		garble() // while it runs
		s.tell(next, 8, 1)
		if err := p.wait(t); !says(err) {
			t.Errorf("Run returned %v", err)
		}
		if err := startOrdered(t, config()).wait(t); !says(err) {
			t.Errorf("begun later, Run returned %v", err)
		}
		group := stream.OrderedConfig{Stream: "S", Group: "g", Partitions: partitions}
		other := group
		other.Group = "h"
		if err := stream.Regroup(t.Context(), s.nc, group, other); !says(err) {
			t.Errorf("Regroup: %v", err)
		}
		if err := stream.ResetGroup(t.Context(), s.nc, group, 1); err != nil {
			t.Fatal(err)
		}
		startOrdered(t, config())
		time.Sleep(15 * time.Second)
		out.check(t, next)
	})
}

// byHeader is a key that is in no subject.
func byHeader(m stream.Message) string { return m.Header.Get("Customer") }

// A stream whose subjects have no partitions is read in some by what its messages have.
func TestPartitionBy(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		s := &scene{t: t, server: server, nc: server.Connect(t)}
		var err error
		if s.js, err = jetstream.New(s.nc); err != nil {
			t.Fatal(err)
		}
		s.make(jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
		next := map[string]int{}
		tell := func(n int) {
			for range n {
				for _, customer := range []string{"ann", "bob", "cyd", "dan", "eve", "fay", "gus", ""} {
					key := cmp.Or(customer, "nobody") // an empty key is none, and has no order
					next[key]++
					m := natsMessage("s", event{key, next[key]})
					m.Header.Set("Customer", customer)
					if _, err := s.js.PublishMsg(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		var out sink
		config := func() pipeline.Config[event] {
			return pipeline.Config[event]{InFlight: 10, Process: out.process, Source: s.ordered(nil, func(c *stream.OrderedConfig) {
				c.Subject, c.PartitionBy = "", byHeader
			})}
		}
		first := startOrdered(t, config())
		tell(20)
		time.Sleep(10 * time.Second)
		second := startOrdered(t, config())
		tell(5)
		time.Sleep(10 * time.Second)
		drainOrdered(t, first)
		tell(5)
		time.Sleep(10 * time.Second)
		drainOrdered(t, second)
		last := uint64(8 * 30)
		for part, c := range s.cursors(partitions) {
			if c.Seq != last {
				t.Errorf("the cursor of partition %d is at %d, though nothing is left before %d", part, c.Seq, last)
			}
		}
		startOrdered(t, config())
		tell(5)
		time.Sleep(10 * time.Second)
		if repeated := out.check(t, next); repeated > 0 {
			t.Errorf("%d were handled twice", repeated)
		}
	})
}

// A key that cannot be had ends the pipeline: the message would be nobody's.
func TestPartitionByPanics(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		s.tell(map[string]int{}, 4, 5)
		p := startOrdered(t, pipeline.Config[event]{
			Source: s.ordered(nil, func(c *stream.OrderedConfig) {
				c.Subject, c.PartitionBy = "", func(stream.Message) string { panic("no customer") }
			}),
			Process: func(context.Context, *pipeline.Message[event]) error { return nil },
		})
		if err := p.wait(t); err == nil || !strings.Contains(err.Error(), "PartitionBy: panic: no customer") {
			t.Errorf("Run returned %v", err)
		}
	})
}
