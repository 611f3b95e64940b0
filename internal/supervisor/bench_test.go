package supervisor

import (
	"context"
	"testing"
	"time"
)

// The metric x-bare is the ratio to the same thing done with a bare goroutine, or a bare channel.

func BenchmarkDynamicChild(b *testing.B) {
	d, err := NewDynamic(DynamicSpec{Name: "jobs"})
	if err != nil {
		b.Fatal(err)
	}
	stop := runForBenchmark(b, d)
	defer stop()
	for range 100 {
		if err := d.Start(Child{Name: "other", Restart: Temporary, Run: untilStopped}); err != nil {
			b.Fatal(err)
		}
	}
	ended := make(chan struct{})
	c := Child{Name: "job", Restart: Temporary, Run: func(context.Context) error {
		ended <- struct{}{}
		return nil
	}}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Start(c); err != nil {
			b.Fatal(err)
		}
		<-ended
	}
	reportRatio(b, func(n int) {
		for range n {
			go func() { ended <- struct{}{} }()
			<-ended
		}
	})
}

func BenchmarkServerCall(b *testing.B) {
	s, stop := runCounter(b)
	defer stop()
	ctx, cancel := context.WithTimeout(b.Context(), Forever)
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := get(ctx, s); err != nil {
			b.Fatal(err)
		}
	}
	requests := make(chan chan int, DefaultMailbox)
	go func() {
		for r := range requests {
			r <- 1
		}
	}()
	reportRatio(b, func(n int) {
		for range n {
			r := make(chan int, 1)
			requests <- r
			<-r
		}
	})
	close(requests)
}

func BenchmarkServerCast(b *testing.B) {
	s, stop := runCounter(b)
	defer stop()
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Cast(b.Context(), sleepFor{}); err != nil {
			b.Fatal(err)
		}
	}
	messages := make(chan counterMessage, DefaultMailbox)
	go func() {
		for range messages {
		}
	}()
	reportRatio(b, func(n int) {
		for range n {
			messages <- sleepFor{}
		}
	})
	close(messages)
}

func BenchmarkTask(b *testing.B) {
	d, err := NewDynamic(DynamicSpec{Name: "tasks"})
	if err != nil {
		b.Fatal(err)
	}
	stop := runForBenchmark(b, d)
	defer stop()
	ctx, cancel := context.WithTimeout(b.Context(), Forever)
	defer cancel()
	f := func(context.Context) (int, error) { return 1, nil }
	b.ReportAllocs()
	for b.Loop() {
		t, err := Async(d, "task", f)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := t.Await(ctx); err != nil {
			b.Fatal(err)
		}
	}
	reportRatio(b, func(n int) {
		for range n {
			result := make(chan int, 1)
			go func() { result <- 1 }()
			<-result
		}
	})
}

// BenchmarkStream measures an item.
func BenchmarkStream(b *testing.B) {
	d, err := NewDynamic(DynamicSpec{Name: "items"})
	if err != nil {
		b.Fatal(err)
	}
	stop := runForBenchmark(b, d)
	defer stop()
	const atOnce = 8
	f := func(_ context.Context, item int) (int, error) { return item, nil }
	endless := func(yield func(int) bool) {
		for yield(1) {
		}
	}
	b.ReportAllocs()
	for _, err := range Stream(b.Context(), d, endless, f, StreamOptions{MaxConcurrency: atOnce}) {
		if err != nil {
			b.Fatal(err)
		}
		if !b.Loop() {
			break
		}
	}
	reportRatio(b, func(n int) {
		results := make(chan int, atOnce)
		for i := range n {
			go func() { results <- 1 }()
			if i >= atOnce-1 {
				<-results
			}
		}
	})
}

// What a child costs is bounded, since it is what a job costs.
func TestDynamicChildAllocatesLittle(t *testing.T) {
	d, err := NewDynamic(DynamicSpec{Name: "jobs"})
	if err != nil {
		t.Fatal(err)
	}
	stop := runForBenchmark(t, d)
	defer stop()
	ended := make(chan struct{})
	c := Child{Name: "job", Restart: Temporary, Run: func(context.Context) error {
		ended <- struct{}{}
		return nil
	}}
	if got := testing.AllocsPerRun(1000, func() {
		if err := d.Start(c); err != nil {
			t.Fatal(err)
		}
		<-ended
	}); got > 10 {
		t.Errorf("allocations per child = %v, want at most 10", got)
	}
}

// runForBenchmark runs a part until stop is called.
func runForBenchmark(tb testing.TB, p Part) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_ = p.RunReady(ctx, func() { close(ready) })
	}()
	<-ready
	return func() {
		cancel()
		<-done
	}
}

func runCounter(b *testing.B) (s *Server[counterMessage], stop func()) {
	b.Helper()
	s, err := NewServer(ServerSpec[counterMessage]{
		Name: "counter",
		Init: func(context.Context, *Self[counterMessage]) (Handler[counterMessage], error) { return &counter{}, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	return s, runForBenchmark(b, s)
}

// reportRatio measures bare, which does its thing n times, and reports how many times slower the
// benchmark is.
func reportRatio(b *testing.B, bare func(n int)) {
	b.Helper()
	supervised := b.Elapsed()
	begin := time.Now()
	bare(b.N)
	b.ReportMetric(float64(supervised)/float64(time.Since(begin)), "x-bare")
}
