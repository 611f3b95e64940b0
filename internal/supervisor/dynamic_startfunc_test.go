package supervisor

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// However a function ends, its child leaves and the next one runs.
func TestStartFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		d, r := startDynamic(t, DynamicSpec{MaxChildren: 3, OnEvent: log.add})
		ran := 0
		for i := range 30 {
			err := d.StartFunc(fmt.Sprint("job ", i), func() {
				ran++
				switch i % 3 {
				case 0:
					panic(errBoom)
				case 1:
					runtime.Goexit()
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if n := childrenOf(d); n != 0 {
				t.Fatalf("%d children after job %d, want none", n, i)
			}
		}
		if ran != 30 {
			t.Errorf("ran %d functions, want 30", ran)
		}
		failed := 0
		for _, e := range log.of(ChildEnded) {
			if _, panicked := errors.AsType[*PanicError](e.Err); panicked || errors.Is(e.Err, ErrExited) {
				failed++
			}
		}
		if failed != 20 {
			t.Errorf("%d children failed, want 20", failed)
		}
		r.stop(nil)
		if <-r.done; r.err != nil {
			t.Errorf("Run = %v: what a function does ends nobody else", r.err)
		}
		if err := d.StartFunc("late", func() {}); !errors.Is(err, ErrNotRunning) {
			t.Errorf("StartFunc after Run = %v, want %v", err, ErrNotRunning)
		}
	})
}

func TestStartFuncRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startDynamic(t, DynamicSpec{MaxChildren: 1})
		release := make(chan struct{})
		defer close(release)
		for _, tt := range []struct {
			name string
			f    func()
			want error
		}{{"", func() {}, ErrSpec}, {"a", nil, ErrSpec}, {"a", func() { <-release }, nil}, {"b", func() {}, ErrMaxChildren}} {
			if err := d.StartFunc(tt.name, tt.f); !errors.Is(err, tt.want) {
				t.Errorf("StartFunc(%q) = %v, want %v", tt.name, err, tt.want)
			}
		}
	})
}

// A stop leaves functions that run; they come back to nobody.
func TestStopLeavesFuncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := startDynamic(t, DynamicSpec{})
		for range 3 {
			if err := d.StartFunc("job", func() { time.Sleep(time.Hour) }); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if stack := d.Stacks("job"); !strings.Contains(stack, "TestStopLeavesFuncs") {
			t.Errorf("the stack of the job is %q", stack)
		}
		begin := time.Now()
		r.stop(nil)
		if <-r.done; r.err != nil || time.Since(begin) > 0 {
			t.Errorf("Run = %v after %v, want nil at once", r.err, time.Since(begin))
		}
		if n := d.Abandoned(); n != 3 {
			t.Errorf("%d functions are left, want 3", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := d.Abandoned(); n != 0 {
			t.Errorf("%d functions are left, want none", n)
		}
	})
}

func BenchmarkStartFunc(b *testing.B) {
	d, err := NewDynamic(DynamicSpec{Name: "jobs"})
	if err != nil {
		b.Fatal(err)
	}
	stop := runForBenchmark(b, d)
	defer stop()
	ended := make(chan struct{})
	b.ReportAllocs()
	for b.Loop() {
		if err := d.StartFunc("job", func() { ended <- struct{}{} }); err != nil {
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
