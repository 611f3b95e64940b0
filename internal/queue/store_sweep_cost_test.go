package queue

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

// Types are found in a long queue: where nobody handles them, at its end, and behind many that wait for
// their time.
func TestTypesInALongQueue(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		publish := func(n int, kind, typ string) {
			for i := range n {
				if _, err := s.store.client.Publish(s.ctx, &nats.Msg{Subject: fmt.Sprintf("millhand.q.%s.%s.%s-%d", kind, typ, typ, i)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		look := func() []string {
			t.Helper()
			info, err := s.store.client.Info(s.ctx, "millhand-queue-q")
			if err != nil {
				t.Fatal(err)
			}
			sample := typesSample{store: s.store, stream: "millhand-queue-q", types: make(map[string]bool)}
			if err := sample.long(s.ctx, "millhand.q.ready.*.*", info.State); err != nil {
				t.Fatal(err)
			}
			return slices.Sorted(maps.Keys(sample.types))
		}
		publish(100, "later", "waiting")
		if got := look(); len(got) > 0 {
			t.Errorf("found %q where none is ready", got)
		}
		publish(1, "ready", "behind")
		publish(50, "later", "waiting2")
		if got := look(); !slices.Equal(got, []string{"behind"}) {
			t.Errorf("found %q, want the one behind those that wait", got)
		}
		publish(50, "ready", "common")
		publish(1, "ready", "latest")
		if got := look(); !slices.Contains(got, "common") || !slices.Contains(got, "latest") {
			t.Errorf("found %q, want those at the end", got)
		}
	})
}

// What the broker would have to go through for a second is not asked for each minute.
func TestFirstOfATypeIsFoundCheaply(t *testing.T) {
	const million = 1_000_000
	now := time.Now()
	for _, c := range []struct {
		what           string
		floor          uint64
		ready          uint64
		msgs           uint64
		before         time.Duration // since it was looked for at a high cost; 0: never
		again          bool
		asked, indexed bool
	}{
		{what: "nothing was acknowledged", floor: 0, ready: million, msgs: million},
		{what: "few are ready", floor: million, ready: 10, msgs: million, asked: true, indexed: true},
		{what: "many are ready, the floor is near", floor: 600, ready: million, msgs: million, asked: true},
		{what: "many are ready behind many others", floor: million, ready: million, msgs: 3 * million, asked: true, indexed: true},
		{what: "the same once more", floor: million, ready: million, msgs: 3 * million, before: time.Minute},
		{what: "the same after an hour", floor: million, ready: million, msgs: 3 * million, before: time.Hour, asked: true, indexed: true},
		{what: "some were found", floor: million, ready: million, msgs: 3 * million, before: time.Minute, again: true, asked: true, indexed: true},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := &Sweeper{found: make(map[job.Name]time.Time)}
			if c.before > 0 {
				w.found[job.Name{}] = now.Add(-c.before)
			}
			info := &jetstream.StreamInfo{TimeStamp: now, State: jetstream.StreamState{FirstSeq: 1, LastSeq: 3 * million, Msgs: c.msgs}}
			consumer := &jetstream.ConsumerInfo{NumPending: c.ready, AckFloor: jetstream.SequenceInfo{Stream: c.floor}}
			from, asked := w.ackedFrom(job.Name{}, consumer, info, c.again)
			if asked != c.asked || asked && (from == 0) != c.indexed {
				t.Errorf("from %d, %v", from, asked)
			}
		})
	}
}

// A round of looking at what waits for its time ends at its last message, and one that was dear is
// not begun again at once, unless the broker had stored nothing.
func TestRoundsOfWaitingJobs(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		w := s.sweeper()
		publish := func(subject string) {
			t.Helper()
			if _, err := s.store.client.Publish(s.ctx, &nats.Msg{Subject: subject}); err != nil {
				t.Fatal(err)
			}
		}
		publish("millhand.q.later.t.first")
		s.sleep(sweepOverdue + time.Second)
		publish("millhand.q.ready.other.behind")
		s.sweep(w)
		if w.later != 0 || s.ready() != 2 {
			t.Errorf("goes on at %d with %d ready, want a round that ended and the first one made ready", w.later, s.ready())
		}
		publish("millhand.q.later.t.second")
		s.sleep(sweepOverdue + time.Second)
		w.gone = time.Now()
		s.sweep(w)
		if s.ready() != 2 {
			t.Error("a dear round was begun again at once")
		}
		s.sleep(goesThrough)
		s.sweep(w)
		if s.ready() != 3 {
			t.Error("a dear round was not begun again after an hour")
		}
	})
}
