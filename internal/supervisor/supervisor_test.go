package supervisor

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		n := 0
		dyn, err := NewDynamic(DynamicSpec{Name: "jobs", OnEvent: func(e Event) { t.Log(e.Kind, e.Attrs()) }})
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Spec{Name: "root", Strategy: RestForOne, Backoff: Backoff{First: time.Second}, OnEvent: func(e Event) { t.Log(e.Kind, e.Attrs()) }, Children: []Child{
			{Name: "a", Run: func(ctx context.Context) error {
				if n++; n < 3 {
					return boom
				}
				<-ctx.Done()
				return ctx.Err()
			}},
			{Name: "jobs", Part: dyn},
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(time.Minute)
		if err := dyn.Start(Child{Name: "j", Restart: Temporary, Run: func(ctx context.Context) error { panic("x") }}); err != nil {
			t.Fatal(err)
		}
		if err := dyn.Start(Child{Name: "k", Restart: Temporary, Run: func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Minute); return nil }}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		t.Logf("%+v", s.Tree())
		cancel()
		if err := <-done; !errors.Is(err, ErrStopTimeout) {
			t.Error(err)
		}
		time.Sleep(time.Hour)
	})
}

func BenchmarkDynamic(b *testing.B) {
	d, _ := NewDynamic(DynamicSpec{Name: "jobs"})
	ctx, cancel := context.WithCancel(b.Context())
	ready, done := make(chan struct{}), make(chan error)
	go func() { done <- d.RunReady(ctx, func() { close(ready) }) }()
	<-ready
	for range 100 {
		d.Start(Child{Name: "x", Restart: Temporary, Run: func(ctx context.Context) error { <-ctx.Done(); return nil }})
	}
	end := make(chan struct{}, 1)
	c := Child{Name: "j", Restart: Temporary, Run: func(ctx context.Context) error { end <- struct{}{}; return nil }}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Start(c); err != nil {
			b.Fatal(err)
		}
		<-end
	}
	cancel()
	<-done
}
