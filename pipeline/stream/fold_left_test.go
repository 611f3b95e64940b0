package stream_test

import (
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline/stream"
)

// What a process has folded of partitions that others have now is not in its memory any more.
func TestFoldForgetsPartitions(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		const keys = 40
		next := map[string]int{}
		var out table
		windows := func(p *running[event]) int { return p.Stats().OpenBatches["tens"] }
		first := startOrdered(t, counted(s.ordered(nil), &out))
		s.tell(next, keys, 5)
		time.Sleep(5 * time.Second)
		if n := windows(first); n != keys {
			t.Errorf("%d accumulators for %d keys", n, keys)
		}
		link := s.server.Link()
		second := startOrdered(t, counted(s.ordered(link), &out))
		time.Sleep(5 * time.Second)
		if a, b := windows(first), windows(second); a == 0 || b == 0 || a+b != keys {
			t.Errorf("%d and %d accumulators for %d keys", a, b, keys)
		}
		link.Hold()
		time.Sleep(15 * time.Second) // it has lost its partitions, and cannot know more
		if a, b := windows(first), windows(second); a != keys || b != 0 {
			t.Errorf("%d and %d accumulators for %d keys, of which the first has all", a, b, keys)
		}
		link.Release()
	})
}

// Chunks of states that no cursor names do not stay: neither those of an owner that died before he had written his
// cursor, nor those of a group that begins anew.
func TestChunksThatAreLeftOver(t *testing.T) {
	inGroup(t, func(t *testing.T, s *scene) {
		next := map[string]int{}
		group := stream.OrderedConfig{Stream: "S", Group: "g", Partitions: partitions}
		fresh := func(link *natstest.Link) *running[event] {
			p := startOrdered(t, stateOf(s.ordered(link), func(int) {}))
			time.Sleep(12 * time.Second) // for as long as the lease of one that died
			return p
		}
		leftOver := func() (n int) {
			for _, names := range s.chunks() {
				if names == 0 {
					n++
				}
			}
			return n
		}
		link := s.server.Link()
		fresh(link)
		s.tell(next, 4, 10)
		time.Sleep(5 * time.Second)
		if n := len(s.chunks()); n == 0 || leftOver() > 0 {
			t.Fatalf("%d states in chunks, %d of them left over", n, leftOver())
		}
		chunks := false
		link.Watch(func(subject string) natstest.Fate {
			if !strings.HasPrefix(subject, "millhand.state.") {
				return natstest.Pass
			}
			if strings.Count(subject, ".") > 3 {
				chunks = true
			} else if chunks {
				link.Down()
				return natstest.CutBefore
			}
			return natstest.Pass
		})
		s.tell(next, 4, 10)
		time.Sleep(5 * time.Second)
		if leftOver() == 0 {
			t.Fatal("nothing is left over of the one that died")
		}
		p := fresh(nil)
		if n := leftOver(); n > 0 {
			t.Errorf("%d states are left over of the one that died", n)
		}
		drainOrdered(t, p)
		if n := len(s.chunks()); n == 0 || leftOver() > 0 {
			t.Errorf("%d states in chunks, %d of them left over, at the end", n, leftOver())
		}
		if err := stream.ResetGroup(t.Context(), s.nc, group, 1); err != nil {
			t.Fatal(err)
		}
		if n := len(s.chunks()); n > 0 {
			t.Errorf("%d states in chunks are left over of what was reset", n)
		}
	})
}
