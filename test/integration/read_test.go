package integration

import (
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/flow"
	"github.com/millhand/millhand/pipeline/stream"
)

// The past of a stream with three copies is read whole, in order and once, also while the node dies that
// leads it, which the reader may be connected to.
func TestReadWhileALeaderDies(t *testing.T) {
	t.Parallel()
	const messages = 3000
	nodes := startCluster(t, func(string) {})
	nc, err := nats.Connect(urls(nodes), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s := replicated(t, js)
	for n := range messages {
		if _, err := js.PublishAsync("numbers.x", []byte(strconv.Itoa(n))); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	info, err := s.Info(t.Context())
	if err != nil || info.State.Msgs != messages {
		t.Fatalf("the stream has %d messages, %v", info.State.Msgs, err)
	}

	next := 0
	numbers := flow.FromErr(stream.Read(t.Context(), nc, stream.ReadConfig{Stream: "NUMBERS"}, stream.JSON[int]))
	for n, err := range numbers.All(t.Context()) {
		if err != nil {
			t.Fatalf("after %d of %d: %v", next, messages, err)
		}
		if n != next {
			t.Fatalf("%d came when it was the turn of %d", n, next)
		}
		if next++; next == 700 {
			for _, b := range nodes {
				if b.Name == info.Cluster.Leader {
					b.kill(t)
				}
			}
		}
	}
	if next != messages {
		t.Errorf("%d messages were read, want %d", next, messages)
	}
}

// replicated makes a stream of three copies, as soon as the cluster has a leader.
func replicated(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	for {
		s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "NUMBERS", Subjects: []string{"numbers.>"}, Replicas: 3})
		if err == nil {
			return s
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}
