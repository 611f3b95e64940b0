package drill

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stream"
)

// What a broker was told that it may remove, and is there still, is nothing that a drill left.
func TestIsBelow(t *testing.T) {
	t.Parallel()
	floors := map[string]uint64{"millhand.drill-1.ready.held.*": 7, "millhand.drill-1.ready.quick.*": 0}
	for _, tt := range []struct {
		subject string
		seq     uint64
		want    bool
	}{
		{"millhand.drill-1.ready.held.a", 7, true},
		{"millhand.drill-1.ready.held.a", 8, false},
		{"millhand.drill-1.ready.quick.a", 2, false},
		{"millhand.drill-1.later.held.a", 2, false},
		{"pin", 1, false},
	} {
		if got := isBelow(floors, tt.subject, tt.seq); got != tt.want {
			t.Errorf("%s at %d: %t", tt.subject, tt.seq, got)
		}
	}
}

// Workers stay until what another one had in hand when it vanished has left the queue: that takes a lease.
func TestTheLastMessageIsAwaited(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		log := natstest.Logger(t.Output())
		mux := millhand.NewMux()
		mux.HandleFunc("quick", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		work := func(name string, link *natstest.Link) {
			w, err := millhand.NewWorker(link.Connect(t), millhand.WorkerConfig{Config: millhand.Config{Logger: log}, Mux: mux, Name: name, Concurrency: 1, AckWait: lease})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			var ended sync.WaitGroup
			ended.Go(func() { _ = w.Run(ctx) }) // it may be cut off
			t.Cleanup(func() { link.Up(); stop(); ended.Wait() })
		}
		client, err := millhand.NewClient(s.Connect(t), millhand.Config{Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		js, err := stream.New(s.Connect(t), stream.Config{Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		link := s.Link()
		link.Watch(func(subject string) natstest.Fate {
			if !strings.HasPrefix(subject, "$JS.ACK.") {
				return natstest.Pass
			}
			link.Down() // the event of the end is stored, and that is the last of it
			return natstest.CutBefore
		})
		work("vanishes", link)
		ref, err := client.Enqueue(t.Context(), millhand.Raw{Name: "quick", Payload: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		within, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := client.Await(within, ref); err != nil {
			t.Fatal(err)
		}
		c := &conductor{Config: Config{Stream: js}, stream: "millhand-queue-default"}
		left := func() uint64 {
			info, err := js.Info(t.Context(), c.stream)
			if err != nil {
				t.Fatal(err)
			}
			return info.State.Msgs - 1
		}
		began := time.Now()
		if err := c.awaitEmpty(t.Context(), time.Second); err != nil || left() != 1 || time.Since(began) < time.Second {
			t.Errorf("after %v %d messages are left, want 1 after a second; %v", time.Since(began), left(), err)
		}
		work("well", s.Link())
		if err := c.awaitEmpty(t.Context(), emptyWithin); err != nil || left() != 0 {
			t.Errorf("after %v %d messages are left; %v", time.Since(began), left(), err)
		}
		if took := time.Since(began); took < lease/2 || took > emptyWithin {
			t.Errorf("the queue is empty after %v", took)
		}
	})
}
