package millhand_test

import (
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// manyWaiters is how many wait in BenchmarkAwait.
const manyWaiters = 10_000

// What it costs that ten thousand wait: until all are told, beside the time that their jobs take
// with nobody waiting; the client's memory; its requests while nothing happens.
//
//	go test -run - -bench Await -benchtime 3x .
func BenchmarkAwait(b *testing.B) {
	var alone, told, lag, bytes, requests float64
	for b.Loop() {
		alone += drain(b, nil).Seconds()
		var crowd crowd
		told += drain(b, &crowd).Seconds()
		lag += crowd.lag.Seconds()
		bytes += crowd.bytes
		requests += crowd.requests
	}
	n := float64(b.N)
	b.ReportMetric(0, "ns/op") // says nothing
	b.ReportMetric(alone/n, "s-jobs-alone")
	b.ReportMetric(told/n, "s-all-told")
	b.ReportMetric(told/alone, "told/alone")
	b.ReportMetric(lag/n, "s-after-last-end")
	b.ReportMetric(bytes/n, "B/waiter")
	b.ReportMetric(requests/n, "idle-requests/s")
}

// A crowd waits for jobs.
type crowd struct {
	waiting  sync.WaitGroup
	bytes    float64       // of heap, of each
	requests float64       // each second while nothing happens
	lag      time.Duration // from the last end, as it is published, until all are told
}

// drain returns how long a worker takes for many jobs, and until all who wait for them know.
func drain(b *testing.B, who *crowd) time.Duration {
	b.Helper()
	server := natstest.Real(b)
	defer server.Stop()
	c, nc := quietClient(b, server)
	batch := make([]millhand.Request, manyWaiters)
	for i := range batch {
		batch[i] = millhand.Request{Args: email{To: strconv.Itoa(i)}}
	}
	refs, err := c.EnqueueMany(b.Context(), batch)
	if err != nil {
		b.Fatal(err)
	}
	if who != nil {
		who.wait(b, c, nc, refs)
	}
	_, observer := quietClient(b, server)
	ended := make(chan *nats.Msg, 2*manyWaiters)
	if _, err := observer.ChanSubscribe("millhand.event.>", ended); err != nil {
		b.Fatal(err)
	}
	if err := observer.Flush(); err != nil {
		b.Fatal(err)
	}
	mux := millhand.NewMux()
	millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[email]) (string, error) { return j.Args.To, nil })
	_, workers := quietClient(b, server)
	w, err := millhand.NewWorker(workers, millhand.WorkerConfig{Config: silent(), Mux: mux, Concurrency: 1000})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	var working sync.WaitGroup
	start := time.Now()
	working.Go(func() {
		if err := w.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	for range manyWaiters {
		<-ended
	}
	took := time.Since(start)
	if who != nil {
		who.waiting.Wait()
		who.lag = time.Since(start) - took
		took += who.lag
	}
	stop()
	working.Wait()
	return took
}

// wait has somebody wait for each job, and measures what that costs.
func (c *crowd) wait(b *testing.B, client *millhand.Client, nc *nats.Conn, refs []millhand.Ref) {
	b.Helper()
	before := heap()
	for i, ref := range refs {
		c.waiting.Go(func() {
			result, err := millhand.AwaitResult[string](b.Context(), client, ref)
			if err != nil || result != strconv.Itoa(i) {
				b.Errorf("job %d: %q, %v", i, result, err)
			}
		})
	}
	<-time.After(5 * time.Second) // all have been looked for, and for a second time
	c.bytes = float64(heap()-before) / float64(len(refs))
	sent := nc.Stats().OutMsgs
	const idle = 10 * time.Second
	<-time.After(idle)
	c.requests = float64(nc.Stats().OutMsgs-sent) / idle.Seconds()
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func silent() millhand.Config { return millhand.Config{Logger: slog.New(slog.DiscardHandler)} }

func quietClient(b *testing.B, server *natstest.Server) (*millhand.Client, *nats.Conn) {
	b.Helper()
	nc := server.Connect(b, millhand.ConnectOptions(slog.New(slog.DiscardHandler))...)
	c, err := millhand.NewClient(nc, silent())
	if err != nil {
		b.Fatal(err)
	}
	return c, nc
}
