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
// to.
type world struct {
	recorder
	t *testing.T

	mu      sync.Mutex
	starts  map[string]int
	cleaned []string
	orders  map[string]chan string
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
	w.order(name) <- reason
	synctest.Wait()
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
	default:
		c.StopTimeout = time.Duration(s.ShutdownMS) * time.Millisecond
	}
	if s.Type == "supervisor" {
		c.Part = w.supervisor(s.ID, setup{
			Strategy: s.Strategy, MaxRestarts: s.MaxRestarts, MaxSeconds: s.MaxSeconds, Children: s.Children,
		})
		return c
	}
	orders := w.order(s.ID)
	c.RunReady = func(ctx context.Context, ready func()) error {
		w.mu.Lock()
		w.starts[s.ID]++
		n := w.starts[s.ID]
		w.mu.Unlock()
		if err := w.init(s, n); err != nil {
			return err
		}
		w.record("start", s.ID)
		ready()
		select {
		case reason := <-orders:
			return w.endFor(s.ID, reason)
		case <-ctx.Done():
			return w.terminate(ctx, s)
		}
	}
	return c
}

// init plays the n-th start of a child, from its description in words.
func (w *world) init(s childSetup, n int) error {
	first, then, _ := strings.Cut(s.Init, "then")
	switch {
	case s.Init == "" || n == 1 && strings.HasPrefix(s.Init, "ok"):
		return nil
	case strings.Contains(then, "2nd and 3rd") && n > 3:
		return nil
	case strings.Contains(first+then, "ignore"):
		w.record("ignore", s.ID)
		return ErrIgnore
	default:
		w.record("init_stop", s.ID)
		return errBoom
	}
}

func (w *world) endFor(name, reason string) error {
	if reason == "kill" {
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
	default:
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
	switch s.Strategy {
	case "one_for_all":
		spec.Strategy = OneForAll
	case "rest_for_one":
		spec.Strategy = RestForOne
	}
	switch s.AutoShutdown {
	case "any_significant":
		spec.AutoShutdown = AnySignificant
	case "all_significant":
		spec.AutoShutdown = AllSignificant
	}
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
	switch name {
	case "", "permanent":
		return Permanent
	case "transient":
		return Transient
	case "temporary":
		return Temporary
	}
	t.Fatalf("unknown restart %q", name)
	return 0
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

// fates compares two trees: same, restarted, undefined (known, but not running), removed.
func fates(before, after Node, names ...string) map[string]string {
	fates := make(map[string]string)
	for _, name := range names {
		was, is := childNamed(before, name), childNamed(after, name)
		switch {
		case is == nil:
			fates[name] = "removed"
		case is.State != StateRunning:
			fates[name] = "undefined"
		case was != nil && was.Restarts == is.Restarts:
			fates[name] = "same"
		default:
			fates[name] = "restarted"
		}
	}
	return fates
}

func childNamed(n Node, name string) *Node {
	i := slices.IndexFunc(n.Children, func(c Node) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &n.Children[i]
}
