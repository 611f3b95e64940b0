package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

func TestZZClusterLatency(t *testing.T) {
	nodes := startCluster(t, func(string) {})
	nc, err := nats.Connect(urls(nodes), nats.MaxReconnects(-1))
	if err != nil { t.Fatal(err) }
	const types = 60
	mux := millhand.NewMux()
	started := make(chan time.Time, 1)
	for i := range types {
		mux.HandleFunc(fmt.Sprintf("type%d", i), func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { started <- time.Now(); return nil, nil })
	}
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux, Concurrency: 4})
	if err != nil { t.Fatal(err) }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	nc2, _ := nats.Connect(urls(nodes))
	c, _ := millhand.NewClient(nc2, millhand.Config{})
	for { if _, err := c.Enqueue(ctx, millhand.Raw{Name: "type0"}); err == nil { break }; time.Sleep(time.Second) }
	<-started
	time.Sleep(10*time.Second)
	b := nc.Stats(); time.Sleep(20*time.Second); a := nc.Stats()
	t.Logf("messages/s %.1f", float64(a.InMsgs+a.OutMsgs-b.InMsgs-b.OutMsgs)/20)
	var took []time.Duration
	for range 25 {
		time.Sleep(time.Duration(rand.IntN(1000))*time.Millisecond)
		at := time.Now()
		if _, err := c.Enqueue(ctx, millhand.Raw{Name: fmt.Sprintf("type%d", rand.IntN(types))}); err != nil { t.Fatal(err) }
		took = append(took, (<-started).Sub(at))
	}
	slices.Sort(took)
	t.Logf("median %v worst %v", took[len(took)/2], took[len(took)-1])
	cancel(); <-done
}
