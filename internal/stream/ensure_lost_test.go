package stream

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
)

// A server that has just started may do what it is asked and answer nobody. Whoever asks again
// gets the stream well before a caller's patience ends, and knows that it made it.
func TestEnsureAsksAgain(t *testing.T) {
	for name, lost := range map[string]string{
		"none":            "",
		"the account":     "INFO",
		"what there is":   "STREAM.INFO.orders",
		"the new stream":  "STREAM.CREATE.orders",
		"each of the two": "STREAM.",
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				loseFirst(t, s, lost)
				c, err := New(s.Connect(t), Config{Domain: "lossy", Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				begin := time.Now()
				info, made, err := c.Ensure(t.Context(), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}})
				if err != nil || !made || info.Config.Name != "orders" {
					t.Fatalf("Ensure = %v, made %t, %v", info, made, err)
				}
				if took := time.Since(begin); took > SetupTimeout/2 {
					t.Errorf("it took %v", took)
				}
				if _, made, err := c.Ensure(t.Context(), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}}); err != nil || made {
					t.Errorf("Ensure of what there is: made %t, %v", made, err)
				}
			})
		})
	}
}

// loseFirst has a JetStream domain "lossy" that passes all requests on, and loses the first
// answer to each whose name begins with prefix.
func loseFirst(t *testing.T, s *natstest.Server, prefix string) {
	t.Helper()
	nc := s.Connect(t)
	var mu sync.Mutex
	lost := make(map[string]bool)
	_, err := nc.Subscribe("$JS.lossy.API.>", func(m *nats.Msg) {
		request := strings.TrimPrefix(m.Subject, "$JS.lossy.API.")
		mu.Lock()
		defer mu.Unlock()
		reply := m.Reply
		if prefix != "" && strings.HasPrefix(request, prefix) && !lost[request] {
			lost[request], reply = true, ""
		}
		if err := nc.PublishMsg(&nats.Msg{Subject: "$JS.API." + request, Reply: reply, Header: m.Header, Data: m.Data}); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// A broker that is far away gets no less time than one that is asked once.
func TestEnsureFarAway(t *testing.T) {
	const requests = 4 // what there is, the account, three copies, and one where there is no cluster
	for _, roundTrip := range []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond, 1100 * time.Millisecond} {
		t.Run(roundTrip.String(), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				link := s.Link()
				link.Far(roundTrip)
				c, err := New(link.Connect(t), Config{Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				begin := time.Now()
				_, made, err := c.Ensure(t.Context(), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}})
				if took := time.Since(begin); err != nil || !made || took > requests*roundTrip {
					t.Errorf("Ensure = made %t, %v, after %v", made, err, took)
				}
			})
		})
	}
}
