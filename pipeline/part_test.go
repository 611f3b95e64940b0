package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// broker is a source whose messages come again a minute after nobody settled them.
type broker struct {
	mu    sync.Mutex
	ready []int
	lent  map[int]time.Time // when they come again; zero: not, as they are renewed
	done  map[int][]error
	lost  []int
	users int // runs that it was attached to

	released int

	bug bug
}

func newBroker(n int) *broker {
	b := &broker{lent: map[int]time.Time{}, done: map[int][]error{}}
	for i := range n {
		b.ready = append(b.ready, i)
	}
	return b
}

func (b *broker) Attach(User) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.users++
}

func (b *broker) Release(context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.released++
}

// Run has leases end.
func (b *broker) Run(ctx context.Context) error {
	for wait(ctx, time.Second) {
		b.mu.Lock()
		for n, until := range b.lent {
			if !until.IsZero() && !until.After(time.Now()) {
				delete(b.lent, n)
				b.ready = append(b.ready, n)
			}
		}
		b.mu.Unlock()
	}
	return nil
}

func (b *broker) Pull(ctx context.Context, n int, out []Delivery[int]) ([]Delivery[int], error) {
	for {
		b.mu.Lock()
		for ; n > 0 && len(b.ready) > 0; n-- {
			i := b.ready[0]
			b.ready = b.ready[1:]
			b.lent[i] = time.Time{}
			out = append(out, Delivery[int]{Value: i, Acker: b, Ref: i, Context: faulty{context.Background(), &b.bug}})
		}
		b.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		if !wait(ctx, time.Second) {
			return out, ctx.Err()
		}
	}
}

func (b *broker) Settle(_ context.Context, ends []End) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range ends {
		n, _ := e.Ref.(int)
		delete(b.lent, n)
		if errors.Is(e.Err, ErrHandedBack) {
			b.ready = append(b.ready, n)
			continue
		}
		b.done[n] = append(b.done[n], e.Err)
	}
	return nil
}

func (b *broker) Lose(refs []any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ref := range refs {
		n, _ := ref.(int)
		b.lost = append(b.lost, n)
		b.lent[n] = time.Now().Add(time.Minute)
	}
}

// A bug crashes the part that comes to it, a few times.
type bug struct {
	in   string
	left atomic.Int64
}

func (b *bug) bite(in string) {
	if b.in == in && b.left.Add(-1) >= 0 {
		panic("a bug of the " + in)
	}
}

// start makes it a batcher of no values, which is told of what was pulled.
func (b *bug) start(*run) batching {
	return batching{
		stage: func() staging { return &staged[int]{} }, oldest: func() (time.Time, bool) { return time.Time{}, false }, flushOldest: func() {}, flush: func() {},
		open: func() int { return 0 }, close: func() {}, pulled: func([]*envelope) { b.bite(partSource) }, left: func([]*envelope) {},
	}
}

func (*bug) check() (name string, inFlight int, err error) { return "bug", 0, nil }

// A faulty context bites whoever asks whether a message is still this process's.
type faulty struct {
	context.Context //nolint:containedctx // it is a message's life

	bug *bug
}

func (f faulty) Err() error {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		switch {
		case strings.Contains(frame.Function, "(*call["):
			f.bug.bite(partBatchers)
			return nil
		case strings.Contains(frame.Function, "(*worker["):
			f.bug.bite(partProcessors)
			return nil
		case !more:
			return nil
		}
	}
}

// Whatever part crashes, by a bug, takes with it what it had in hand, and all parts begin anew: its messages come again
// when their leases have ended, the others at once, and each ends.
func TestCrashedParts(t *testing.T) {
	const n = 40
	for _, part := range []string{partSource, partProcessors, partBatchers} {
		t.Run(part, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(n)
				b.bug.in = part
				b.bug.left.Store(2)
				rows := NewBatcher(BatcherConfig[int]{Name: "rows", Size: 4, Wait: time.Second, Handle: func(context.Context, *Batch[int]) error { return nil }})
				var log strings.Builder
				events := map[Phase]int{}
				p, err := New(Config[int]{
					Name: "p", Source: b, Batchers: []AnyBatcher{rows, &b.bug}, Concurrency: 1, InFlight: 12, Logger: slog.New(slog.NewTextHandler(&log, nil)),
					Process: func(_ context.Context, m *Message[int]) error { rows.Add(m, m.Value); return nil },
					Observe: func(e Event) {
						if e.What == "pipeline" {
							events[e.Phase]++
						}
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- p.Run(ctx) }()
				time.Sleep(10 * time.Minute)
				cancel()
				if err := <-ended; err != nil {
					t.Errorf("Run = %v", err)
				}
				for i := range n {
					if ends := b.done[i]; len(ends) != 1 || ends[0] != nil {
						t.Errorf("message %d ended with %v", i, ends)
					}
				}
				if b.users != 3 || b.released != 3 || events[Start] != 1 || events[Stop] != 1 {
					t.Errorf("%d runs, released %d times, events %v", b.users, b.released, events)
				}
				if s := p.Stats(); int(s.Lost) != len(b.lost) || part != partSource && len(b.lost) == 0 || s.Handled != n {
					t.Errorf("%+v, lost %v", s, b.lost)
				}
				if crashes := strings.Count(log.String(), "part="+part); crashes != 2 || !strings.Contains(log.String(), "a bug of the "+part) {
					t.Errorf("%d crashes are in the log: %s", crashes, log.String())
				}
			})
		})
	}
}

// A part that crashes again and again ends the pipeline, with what it was.
func TestPartsGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(10)
		b.bug.in = partProcessors
		b.bug.left.Store(1000)
		p, err := New(Config[int]{
			Source: b, Concurrency: 1, InFlight: 1, Logger: slog.New(slog.DiscardHandler), Process: func(context.Context, *Message[int]) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		var crashed *PartError
		if err := p.Run(ctx); !errors.As(err, &crashed) || crashed.Part != partProcessors || !strings.Contains(err.Error(), "a bug of the processors") {
			t.Errorf("Run = %v", err)
		}
		if took := time.Since(begun); b.users != 1+maxRestarts || took > restartWithin {
			t.Errorf("%d runs within %v", b.users, took)
		}
		if err := p.Run(ctx); !errors.As(err, &crashed) || b.users < 2*(1+maxRestarts) {
			t.Errorf("the second Run = %v, after %d runs", err, b.users)
		}
	})
}

// What a puller has in hand when it crashes is let go, and so are restarts that are spread out.
func TestLettingGo(t *testing.T) {
	b := newBroker(0)
	p := &puller[int]{out: []Delivery[int]{{Acker: b, Ref: 1}, {}, {Acker: b, Ref: 3}}}
	p.leave()
	if len(b.lost) != 2 || b.lost[0] != 1 || b.lost[1] != 3 {
		t.Errorf("let go of %v", b.lost)
	}
	var r restarts
	at := time.Now()
	for i := range 10 {
		if !r.allowed(at.Add(time.Duration(i) * 2 * time.Second)) {
			t.Errorf("restart %d is not allowed", i)
		}
	}
}
