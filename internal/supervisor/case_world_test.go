package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	errBoom   = errors.New("boom")
	errKilled = errors.New("killed")
)

// world plays children that do nothing but tell what happens to them, and end when they are told
// to. A child that is called consumer ends when the one called producer does, and does not start
// without it.
type world struct {
	recorder
	t *testing.T

	mu       sync.Mutex
	starts   map[string]int
	cleaned  []string
	orders   map[string]chan string
	producer chan struct{} // closed when the producer is gone; nil before its first start
}

func newWorld(t *testing.T) *world {
	return &world{t: t, starts: make(map[string]int), orders: make(map[string]chan string)}
}

func (w *world) expectEvents(want []caseEvent) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.take()); diff != "" {
		w.t.Errorf("events (-want +got):\n%s", diff)
	}
}

// end tells child name to end itself for a reason, and waits until all is quiet again.
func (w *world) end(name, reason string) {
	w.t.Helper()
	order := w.order(name)
	if len(order) > 0 {
		w.t.Fatalf("no %s runs that could end", name)
	}
	order <- reason
	synctest.Wait()
	w.mu.Lock()
	produces := w.producer != nil
	w.mu.Unlock()
	if produces {
		time.Sleep(10 * time.Millisecond) // for its consumers
		synctest.Wait()
	}
	if len(order) > 0 {
		w.t.Fatalf("no %s runs that could end", name)
	}
}

func (w *world) order(name string) chan string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.orders[name] == nil {
		w.orders[name] = make(chan string, 1)
	}
	return w.orders[name]
}

func (w *world) startsOf(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.starts[name]
}

// child makes a child of its description.
func (w *world) child(s childSetup) Child {
	c := Child{Name: s.ID, Significant: s.Significant, Restart: restartNamed(w.t, s.Restart)}
	switch s.Shutdown {
	case "brutal_kill":
		c.NoWait = true
	case "infinity":
		c.StopTimeout = Forever
	case "":
		c.StopTimeout = time.Duration(s.ShutdownMS) * time.Millisecond
	default:
		w.t.Fatalf("unknown shutdown %q", s.Shutdown)
	}
	switch s.Type {
	case "supervisor":
		c.Part = w.supervisor(s.ID, setup{
			Strategy: s.Strategy, MaxRestarts: s.MaxRestarts, MaxSeconds: s.MaxSeconds, AutoShutdown: s.AutoShutdown, Children: s.Children,
		})
		return c
	case "", "worker":
	default:
		w.t.Fatalf("unknown type %q", s.Type)
	}
	orders := w.order(s.ID)
	c.RunReady = func(ctx context.Context, ready func()) error {
		w.mu.Lock()
		w.starts[s.ID]++
		n := w.starts[s.ID]
		w.mu.Unlock()
		gone, err := w.init(s, n)
		if err != nil {
			return err
		}
		if isProducer(s.ID) {
			defer w.produce()()
		}
		w.record("start", s.ID)
		ready()
		select {
		case reason := <-orders:
			return w.endFor(s.ID, reason)
		case <-gone:
			time.Sleep(time.Millisecond) // the news travels to the supervisor first
			w.record("exit", s.ID)
			return errNoProc
		case <-ctx.Done():
			return w.terminate(ctx, s)
		}
	}
	return c
}

var errNoProc = errors.New("noproc")

func isProducer(name string) bool { return name == "producer" || name == "p" }

// isConsumer reports whether a child cannot do without the producer.
func isConsumer(name string) bool { return strings.HasPrefix(name, "consumer") }

// produce has the producer be there until what it returns is called.
func (w *world) produce() (leave func()) {
	gone := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.producer = gone
	return func() { close(gone) }
}

// init plays the n-th start of a child, from its description in words. What it returns is closed when the
// child loses what it needs; nil if it needs nothing.
func (w *world) init(s childSetup, n int) (gone <-chan struct{}, err error) {
	err = initOf(s.Init, n)
	switch {
	case errors.Is(err, errUnknownInit):
		w.t.Error(err)
	case errors.Is(err, ErrIgnore):
		w.record("ignore", s.ID)
	case err != nil:
		w.record("init_stop", s.ID)
	case isConsumer(s.ID):
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.producer == nil {
			return nil, errNoProc
		}
		return w.producer, nil
	}
	return nil, err
}

func (w *world) endFor(name, reason string) error {
	if reason == "kill" || reason == "killed" {
		return errKilled
	}
	w.record("exit", name)
	switch reason {
	case "normal":
		return nil
	case "shutdown":
		return ErrShutdown
	case "shutdown_x":
		return fmt.Errorf("x: %w", ErrShutdown)
	case "boom", "err", "error":
		return errBoom
	default:
		w.t.Errorf("unknown reason %q", reason)
		return errBoom
	}
}

// terminate is the clean-up of a child that is stopped.
func (w *world) terminate(ctx context.Context, s childSetup) error {
	time.Sleep(time.Duration(s.CleanupMS) * time.Millisecond)
	reason := "other"
	if errors.Is(context.Cause(ctx), ErrShutdown) {
		reason = "shutdown"
	}
	w.record("terminated", s.ID, reason)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cleaned = append(w.cleaned, s.ID)
	return ctx.Err()
}

func (w *world) cleanedSoFar() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.cleaned)
}

// spec makes a Spec of its description.
func (w *world) spec(name string, s setup) Spec {
	spec := Spec{Name: name, MaxRestarts: s.MaxRestarts, Within: time.Duration(s.MaxSeconds * float64(time.Second))}
	spec.Strategy = named(w.t, "strategy", s.Strategy, OneForOne, OneForAll, RestForOne)
	spec.AutoShutdown = named(w.t, "auto_shutdown", s.AutoShutdown, Never, AnySignificant, AllSignificant)
	for _, c := range s.Children {
		spec.Children = append(spec.Children, w.child(c))
	}
	return spec
}

func (w *world) supervisor(name string, s setup) *Supervisor {
	w.t.Helper()
	sup, err := New(w.spec(name, s))
	if err != nil {
		w.t.Fatal(err)
	}
	return sup
}

func restartNamed(t *testing.T, name string) Restart {
	t.Helper()
	return named(t, "restart", name, Permanent, Transient, Temporary)
}

// named returns the value with OTP's name, the first one if there is none.
func named[T fmt.Stringer](t *testing.T, what, name string, values ...T) T {
	t.Helper()
	for _, v := range values {
		if name == "" || name == v.String() {
			return v
		}
	}
	t.Fatalf("unknown %s %q", what, name)
	return values[0]
}

// running is a part that runs in the background of a test.
type running struct {
	t    *testing.T
	stop context.CancelCauseFunc
	done chan struct{}
	err  error
}

// start runs a part until the test ends, and returns when all is quiet.
func start(t *testing.T, p Part) *running {
	t.Helper()
	r := launch(t, p)
	t.Cleanup(func() { _ = r.end() })
	return r
}

// launch is start for a caller who ends the part himself.
func launch(t *testing.T, p Part) *running {
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &running{t: t, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = p.RunReady(ctx, func() {})
	}()
	synctest.Wait()
	return r
}

// run starts the supervisor of a description.
func (w *world) run(s setup) (*Supervisor, *running) {
	w.t.Helper()
	sup := w.supervisor("sup", s)
	return sup, start(w.t, sup)
}

func (r *running) ended() bool {
	synctest.Wait()
	return within(0, r.done)
}

// end stops the part and returns what its run returned.
func (r *running) end() error {
	r.stop(nil)
	<-r.done
	return r.err
}

func (r *running) expectAlive() {
	r.t.Helper()
	if r.ended() {
		r.t.Fatalf("ended with %v, want it alive", r.err)
	}
}

// expectExit checks the end of a supervisor against OTP's exit reason, which is shutdown for all it
// decides itself.
func (r *running) expectExit(reason string) {
	r.t.Helper()
	if !r.ended() {
		r.t.Fatalf("alive, want its end: %s", reason)
	}
	if reason != "shutdown" {
		r.t.Fatalf("unknown reason %q", reason)
	}
	if !errors.Is(r.err, ErrShutdown) {
		r.t.Errorf("ended with %v, want an error that is %v", r.err, ErrShutdown)
	}
}

func childNamed(n Node, name string) *Node {
	i := slices.IndexFunc(n.Children, func(c Node) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &n.Children[i]
}
