package millhand_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A nap is a job of the tests of maps: it takes a while, then fails or says its number.
type nap struct {
	N     int           `json:"n"`
	Takes time.Duration `json:"takes"`
	Fails string        `json:"fails,omitempty"`
}

func (nap) Type() string { return "nap" }

// naps takes notes of the handler of naps.
type naps struct {
	mu       sync.Mutex
	started  []int
	ended    []error // causes of contexts that ended
	running  int
	together int // most that ran at once
}

func (n *naps) handle(ctx context.Context, j *millhand.Job[nap]) (int, error) {
	n.mu.Lock()
	n.started = append(n.started, j.Args.N)
	n.running++
	n.together = max(n.together, n.running)
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.running--
	}()
	select {
	case <-time.After(j.Args.Takes):
	case <-ctx.Done():
		n.mu.Lock()
		defer n.mu.Unlock()
		n.ended = append(n.ended, context.Cause(ctx))
		return 0, context.Cause(ctx)
	}
	if j.Args.Fails != "" {
		return 0, errors.New(j.Args.Fails)
	}
	return j.Args.N, nil
}

func (n *naps) starts() []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.started)
}

// inMap starts a worker for naps and has f map them.
func inMap(t *testing.T, f func(t *testing.T, c *millhand.Client, n *naps)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		n := new(naps)
		mux := millhand.NewMux()
		millhand.HandleResult(mux, n.handle, millhand.TypeConfig{MaxAttempts: 1})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 100})
		f(t, client(t, s.Connect(t)), n)
	})
}

// takes is an input of naps that take so long each.
func takes(times ...time.Duration) iter.Seq[nap] {
	return func(yield func(nap) bool) {
		for i, d := range times {
			if !yield(nap{N: i + 1, Takes: d}) {
				return
			}
		}
	}
}

// collect runs a map to its end and describes what it yields.
func collect(m iter.Seq2[millhand.Done[nap, int], error]) (got []string) {
	for d, err := range m {
		failed, isFailed := errors.AsType[*millhand.FailedError](err)
		switch {
		case err == nil:
			got = append(got, strconv.Itoa(d.Result))
		case isFailed:
			got = append(got, fmt.Sprintf("%d: %s", d.Args.N, failed.Message))
		default:
			got = append(got, fmt.Sprintf("%d: %v", d.Args.N, err))
		}
	}
	return got
}

// The recorded behaviour of Task.async_stream, as far as jobs can have it.
func TestMapCases(t *testing.T) {
	const s = time.Second
	slowHead := append([]time.Duration{400 * s}, slices.Repeat([]time.Duration{s}, 11)...)
	oops := func(first bool) iter.Seq[nap] {
		mails := slices.Collect(takes(s, s, s))
		bad := nap{N: 4, Takes: s, Fails: "Oops, couldn't send email to konnichiwa@world.com!"}
		if first {
			return slices.Values(append([]nap{bad}, mails...))
		}
		return slices.Values(append(mails, bad))
	}
	for _, tt := range []struct {
		id    string
		cfg   millhand.MapConfig
		in    iter.Seq[nap]
		want  string
		took  time.Duration // at least; and a second more at most
		check func(t *testing.T, n *naps)
	}{
		{
			id: "astream-ordered-max-concurrency", cfg: millhand.MapConfig{InFlight: 4},
			in: takes(slices.Repeat([]time.Duration{40 * s}, 12)...), want: "1 2 3 4 5 6 7 8 9 10 11 12", took: 120 * s,
			check: func(t *testing.T, n *naps) {
				if n.together != 4 {
					t.Errorf("%d ran at once, want 4", n.together)
				}
			},
		},
		{
			id: "astream-ordered-reversed-durations", cfg: millhand.MapConfig{InFlight: 4},
			in: takes(80*s, 60*s, 40*s, 20*s), want: "1 2 3 4", took: 80 * s,
		},
		{
			id: "astream-unordered", cfg: millhand.MapConfig{InFlight: 4, Unordered: true},
			in: takes(160*s, 120*s, 80*s, 40*s), want: "4 3 2 1", took: 160 * s,
		},
		{
			id: "astream-slow-head", cfg: millhand.MapConfig{InFlight: 3}, // twelve are 4 * InFlight
			in: takes(slowHead...), want: "1 2 3 4 5 6 7 8 9 10 11 12", took: 400 * s,
		},
		{
			id: "astream-timeout-kill", cfg: millhand.MapConfig{InFlight: 2, Timeout: 100 * s},
			in: takes(10*s, 300*s, 20*s, 30*s), want: "1 2: " + millhand.ErrTimeout.Error() + " 3 4", took: 100 * s,
			check: func(t *testing.T, n *naps) {
				if len(n.ended) != 1 || !errors.Is(n.ended[0], millhand.ErrCancelled) {
					t.Errorf("handlers were ended by %v, want one by ErrCancelled", n.ended)
				}
			},
		},
		{
			id: "astream-timeout-kill, unordered", cfg: millhand.MapConfig{InFlight: 2, Timeout: 100 * s, Unordered: true},
			in: takes(10*s, 300*s, 20*s, 30*s), want: "1 3 4 2: " + millhand.ErrTimeout.Error(), took: 100 * s,
		},
		{
			id: "astream-timeout-per-item", cfg: millhand.MapConfig{InFlight: 1, Timeout: 100 * s},
			in: takes(slices.Repeat([]time.Duration{60 * s}, 6)...), want: "1 2 3 4 5 6", took: 360 * s,
		},
		{
			id: "astream-nolink, the last", cfg: millhand.MapConfig{InFlight: 2},
			in: oops(false), want: "1 2 3 4: Oops, couldn't send email to konnichiwa@world.com!", took: 2 * s,
		},
		{
			id: "astream-nolink, the first", cfg: millhand.MapConfig{InFlight: 2},
			in: oops(true), want: "4: Oops, couldn't send email to konnichiwa@world.com! 1 2 3", took: 2 * s,
		},
		{id: "astream-empty", in: takes()},
	} {
		t.Run(tt.id, func(t *testing.T) {
			inMap(t, func(t *testing.T, c *millhand.Client, n *naps) {
				began := time.Now()
				got := strings.Join(collect(millhand.Map[int](t.Context(), c, tt.in, tt.cfg)), " ")
				if took := time.Since(began); took < tt.took || took > tt.took+2*s {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
				time.Sleep(time.Second) // for handlers that were told to end
				if tt.check != nil {
					n.mu.Lock()
					defer n.mu.Unlock()
					tt.check(t, n)
				}
			})
		})
	}
}

// Case astream-lazy-halt: nothing begins before the loop, and leaving it cancels what is in flight.
func TestMapIsLazyAndCancelsWhatIsLeft(t *testing.T) {
	inMap(t, func(t *testing.T, c *millhand.Client, n *naps) {
		pulled := 0
		in := func(yield func(nap) bool) {
			long := append([]time.Duration{50 * time.Second}, slices.Repeat([]time.Duration{time.Minute}, 9)...) // so that they do not end together
			for nap := range takes(long...) {
				if pulled++; !yield(nap) {
					return
				}
			}
		}
		all := millhand.Map[int](t.Context(), c, in, millhand.MapConfig{InFlight: 2})
		time.Sleep(time.Minute)
		if pulled > 0 || len(n.starts()) > 0 {
			t.Fatalf("before the loop, %d elements were pulled and %v had started", pulled, n.starts())
		}
		taken := 0
		for d, err := range all {
			if taken++; err != nil || d.Result != taken {
				t.Errorf("result %d is %v, %v", taken, d.Result, err)
			}
			if taken == 2 {
				time.Sleep(time.Second) // while the third runs
				break
			}
		}
		time.Sleep(time.Minute)
		if got := n.starts(); len(got) > 4 || len(got) < 3 || pulled > 4 {
			t.Errorf("%d elements were pulled and %v started, want 3 or 4", pulled, got)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.running > 0 || len(n.ended) != len(n.started)-2 {
			t.Errorf("%d still run; %d of %d were ended", n.running, len(n.ended), len(n.started))
		}
		for _, err := range n.ended {
			if !errors.Is(err, millhand.ErrCancelled) {
				t.Errorf("a handler was ended by %v", err)
			}
		}
	})
}

// The end of a caller's context is the last thing that it hears, and its jobs are cancelled.
func TestMapEndsWithItsContext(t *testing.T) {
	inMap(t, func(t *testing.T, c *millhand.Client, n *naps) {
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(90*time.Second, func() { cancel(enough) })
		in := takes(slices.Repeat([]time.Duration{40 * time.Second}, 10)...)
		var results int
		var last error
		for _, err := range millhand.Map[int](ctx, c, in, millhand.MapConfig{InFlight: 3}) {
			if last = err; err == nil {
				results++
			}
		}
		if !errors.Is(last, enough) || results != 6 {
			t.Errorf("%d results and then %v, want 6 and then %v", results, last, enough)
		}
		time.Sleep(time.Minute)
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.running > 0 || len(n.ended) != 3 {
			t.Errorf("%d still run, %d were ended, want 0 and 3", n.running, len(n.ended))
		}
	})
}

// What a job cannot be enqueued with is its own error, and the others go on.
func TestMapYieldsRefusals(t *testing.T) {
	inMap(t, func(t *testing.T, c *millhand.Client, _ *naps) {
		in := slices.Values([]millhand.Raw{
			{Name: "nap", Payload: []byte(`{"n":1}`)}, {Name: "no such.type"}, {Name: "nap", Payload: []byte(`{"n":2}`)},
		})
		var got []string
		for d, err := range millhand.Map[int](t.Context(), c, in, millhand.MapConfig{}) {
			got = append(got, cmp.Or(map[bool]string{true: "invalid"}[errors.Is(err, millhand.ErrInvalid)], fmt.Sprint(d.Result, err)))
			if (d.Ref.ID == "") != (err != nil) {
				t.Errorf("the ref beside error %v is %+v", err, d.Ref)
			}
		}
		if want := []string{"1 <nil>", "invalid", "2 <nil>"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// A map with a name goes on where the one before it ended, also under another client.
func TestMapResumesByName(t *testing.T) {
	inMap(t, func(t *testing.T, c *millhand.Client, n *naps) {
		in := slices.Collect(takes(slices.Repeat([]time.Duration{time.Second}, 8)...))
		in[1].Fails = "no luck"
		cfg := millhand.MapConfig{InFlight: 2, Name: "thumbs"}
		for d, err := range millhand.Map[int](t.Context(), c, slices.Values(in), cfg) {
			if d.Args.N == 4 {
				break
			}
			_ = err // of the second
		}
		before := n.starts()
		in[2].Takes++ // another payload is another job
		got := collect(millhand.Map[int](t.Context(), c, slices.Values(in), cfg))
		want := []string{"1", "2: no luck", "3", "4", "5", "6", "7", "8"}
		if !slices.Equal(got, want) {
			t.Errorf("the second map says %q, want %q", got, want)
		}
		again := n.starts()[len(before):]
		slices.Sort(again)
		known := []int{1, 2, 4}
		for _, i := range known {
			if slices.Contains(again, i) {
				t.Errorf("job %d ran again: %v after %v", i, again, before)
			}
		}
		ran := len(n.starts())
		if got := collect(millhand.Map[int](t.Context(), c, slices.Values(in), cfg)); !slices.Equal(got, want) || len(n.starts()) != ran {
			t.Errorf("the third map says %q and ran %v", got, n.starts()[ran:])
		}
	})
}

// Jobs of a caller that vanished are waited for by the map that goes on, and run once.
func TestMapResumesWhatIsAlive(t *testing.T) {
	inMap(t, func(t *testing.T, c *millhand.Client, n *naps) {
		in := takes(slices.Repeat([]time.Duration{30 * time.Second}, 4)...)
		cfg := millhand.MapConfig{InFlight: 4, Name: "thumbs"}
		both := make(chan []string, 2)
		for i := range 2 {
			time.AfterFunc(time.Duration(i)*10*time.Second, func() {
				both <- collect(millhand.Map[int](t.Context(), c, in, cfg))
			})
		}
		for range 2 {
			if got, want := <-both, []string{"1", "2", "3", "4"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if got := n.starts(); len(got) != 4 {
			t.Errorf("%v ran, want each once", got)
		}
	})
}

// However much comes, what is in hand stays within its bound.
func TestMapIsBounded(t *testing.T) {
	inMap(t, func(t *testing.T, c *millhand.Client, _ *naps) {
		const jobs, inFlight = 2000, 50
		var pulled, yielded, most atomic.Int64
		in := func(yield func(nap) bool) {
			for i := range jobs {
				most.Store(max(most.Load(), pulled.Add(1)-yielded.Load()))
				if !yield(nap{N: i}) {
					return
				}
			}
		}
		for _, err := range millhand.Map[int](t.Context(), c, in, millhand.MapConfig{InFlight: inFlight}) {
			if err != nil {
				t.Fatal(err)
			}
			yielded.Add(1)
		}
		if yielded.Load() != jobs || most.Load() > 4*inFlight {
			t.Errorf("%d results, and up to %d in hand; want %d and %d", yielded.Load(), most.Load(), jobs, 4*inFlight)
		}
	})
}

// A connection that is closed for good ends the loop with its error.
func TestMapEndsWithItsConnection(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		c := client(t, nc)
		time.AfterFunc(time.Minute, nc.Close)
		var got []error
		for _, err := range millhand.Map[int](t.Context(), c, takes(1, 2, 3), millhand.MapConfig{InFlight: 2}) {
			got = append(got, err)
		}
		if len(got) != 1 || !errors.Is(got[0], nats.ErrConnectionClosed) {
			t.Errorf("the loop says %v, want the end of the connection", got)
		}
	})
}

func TestMapRefusesBadConfigs(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		for _, err := range millhand.Map[int](t.Context(), c, iter.Seq[nap](nil), millhand.MapConfig{}) {
			if !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("without a sequence: %v", err)
			}
		}
		for _, tt := range []struct {
			cfg  millhand.MapConfig
			want string
		}{
			{millhand.MapConfig{InFlight: -1}, "millhand: in flight -1: must be from 1 to 10000"},
			{millhand.MapConfig{InFlight: 10_001}, "millhand: in flight 10001: must be from 1 to 10000"},
			{millhand.MapConfig{Timeout: -1}, "millhand: timeout -1ns: must not be negative"},
			{millhand.MapConfig{Name: "a b"}, `millhand: map "a b": only A-Z a-z 0-9 _ and - are allowed`},
			{
				millhand.MapConfig{Name: "a", Options: []millhand.EnqueueOption{millhand.WithID("x")}},
				`millhand: map "a": derives the ids of its jobs, so no option may choose them`,
			},
		} {
			var got []error
			for _, err := range millhand.Map[int](t.Context(), c, takes(1), tt.cfg) {
				got = append(got, err)
			}
			if len(got) != 1 || !errors.Is(got[0], millhand.ErrInvalid) || got[0].Error() != tt.want {
				t.Errorf("%+v: %v, want %s", tt.cfg, got, tt.want)
			}
		}
	})
}
