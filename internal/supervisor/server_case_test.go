package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestServerCases(t *testing.T) {
	runCases(t, "server.json", []caseTest{
		{"srv-lifecycle", playLifecycle},
		{"srv-init-results", playInitResults},
		{"srv-continue-before-queued", playContinue},
		{"srv-cast-dead", playDead},
		{"srv-call-timeout", playCallTimeout},
		{"srv-busy", playBusy},
		{"srv-defer-reply", playDefer},
		{"srv-call-crash", playCallCrash},
		{"srv-default-callbacks", playUnknownMessage},
		{"srv-name", playName},
		{"srv-send-after", playSendAfter},
		{"srv-stop-reasons", playStopReasons},
		{"srv-stop", playStop},
		{"srv-book-sendserver", playSendServer},
		{"srv-book-sendserver-default", playSendServerDefault},
		{"srv-book-terminate-bug", playTerminateBug},
		{"job-permanent-loop", playJobLoop},
		{"job-bad", playJob},
		{"job-flaky", playJob},
		{"job-doomed-direct", playDoomedJob},
		{"job-doomed-isolated", playDoomedJob},
		{"job-supervisor-leak", playJobLeak},
		{"job-identity", playJobIdentity},
		{"job-missing-work", playJobWithoutWork},
	})
}

// counter is a server with a number and a message for everything a case may ask of it.
type counter struct {
	recorder
	self    *Self[counterMessage]
	value   int
	reasons []error // of Terminate
}

type counterMessage interface{ isCounterMessage() }

type (
	getValue  struct{ reply Reply[int] }
	setSlowly struct {
		reply Reply[int]
		value int
		takes time.Duration
	}
	addValue  struct{ n int }
	sleepFor  struct{ d time.Duration }
	deferTo   struct{ reply Reply[string] }
	crashWith struct {
		reply Reply[int]
		how   func() error
	}
	continueWith struct{ step string }
	info         struct{ text string }
	unknown      struct{ reply Reply[int] }
)

func (getValue) isCounterMessage()     {}
func (setSlowly) isCounterMessage()    {}
func (addValue) isCounterMessage()     {}
func (sleepFor) isCounterMessage()     {}
func (deferTo) isCounterMessage()      {}
func (crashWith) isCounterMessage()    {}
func (continueWith) isCounterMessage() {}
func (info) isCounterMessage()         {}
func (unknown) isCounterMessage()      {}

func (c *counter) Handle(_ context.Context, msg counterMessage) error {
	switch m := msg.(type) {
	case getValue:
		m.reply.Send(c.value)
	case setSlowly:
		time.Sleep(m.takes)
		c.value = m.value
		m.reply.Send(c.value)
	case addValue:
		c.record("cast", m.n)
		c.value += m.n
	case sleepFor:
		time.Sleep(m.d)
	case deferTo:
		time.AfterFunc(30*time.Millisecond, func() { m.reply.Send("deferred") })
	case crashWith:
		return m.how()
	case continueWith:
		c.record("continue", m.step)
		if m.step == "step1" {
			c.self.Continue(continueWith{"step2"})
		}
	case info:
		c.record("info", m.text)
	case unknown:
		m.reply.Fail(errors.New("unknown message"))
	}
	return nil
}

func (c *counter) Terminate(reason error) {
	text := "normal"
	if reason != nil {
		text = reason.Error()
	}
	c.reasons = append(c.reasons, reason)
	c.record("terminate", text, c.value)
}

// startCounter starts a server that begins with a value, after init did what it likes.
func startCounter(t *testing.T, value int, init func(*counter)) (*Server[counterMessage], *counter, *running) {
	t.Helper()
	c := &counter{value: value}
	s, err := NewServer(ServerSpec[counterMessage]{
		Name: "counter",
		Init: func(_ context.Context, self *Self[counterMessage]) (Handler[counterMessage], error) {
			c.self = self
			c.record("init")
			if init != nil {
				init(c)
			}
			return c, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, c, start(t, s)
}

func get(ctx context.Context, s *Server[counterMessage]) (int, error) {
	return Call(ctx, s, func(r Reply[int]) counterMessage { return getValue{r} })
}

func playLifecycle(t *testing.T, c testCase) {
	value := decode[struct{ State int }](t, c.Setup).State
	expect := decode[struct {
		Get    int
		Events []caseEvent
	}](t, c.Expect)
	s, counter, _ := startCounter(t, value, nil)
	if got, err := get(t.Context(), s); got != expect.Get || err != nil {
		t.Errorf("get = %d, %v, want %d", got, err, expect.Get)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("Stop = %v, want nil", err)
	}
	if diff := cmp.Diff(expect.Events, counter.recorded()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// playInitResults starts children that refuse, fail, panic and dawdle. The caller of StartChild
// learns why, and nobody else ends because of it.
func playInitResults(t *testing.T, _ testCase) {
	errConfig := errors.New("bad_config")
	w := newWorld(t)
	sup, r := w.run(setup{})
	try := func(init func() error) error {
		s, err := NewServer(ServerSpec[int]{Name: "s", Init: func(context.Context, *Self[int]) (Handler[int], error) {
			return nil, init()
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return sup.StartChild(ctx, Child{Name: "s", Part: s, Restart: Temporary, StopTimeout: time.Second})
	}
	if err := try(func() error { return ErrIgnore }); err != nil {
		t.Errorf("ignore: StartChild = %v, want nil", err)
	}
	if err := try(func() error { return errConfig }); !errors.Is(err, errConfig) {
		t.Errorf("stop: StartChild = %v, want %v", err, errConfig)
	}
	err := try(func() error { panic("init boom") })
	if p, ok := errors.AsType[*PanicError](err); !ok || p.Value != "init boom" {
		t.Errorf("panic: StartChild = %v, want a *PanicError", err)
	}
	if err := try(func() error { time.Sleep(100 * time.Millisecond); return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timeout: StartChild = %v, want %v", err, context.DeadlineExceeded)
	}
	time.Sleep(time.Second) // the last one takes its time to stop
	if got := sup.Tree().Children; len(got) != 0 {
		t.Errorf("children = %v, want none", got)
	}
	r.expectAlive()
}

func playContinue(t *testing.T, c testCase) {
	s, counter, r := startCounter(t, 0, func(c *counter) {
		c.self.After(0, info{"queued_in_init"})
		c.self.Continue(continueWith{"step1"})
		time.Sleep(time.Second) // the cast comes meanwhile
	})
	if err := s.Cast(t.Context(), addValue{1}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	synctest.Wait()
	want := decode[struct{ Events []caseEvent }](t, c.Expect).Events
	if diff := cmp.Diff(want, counter.recorded()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	r.expectAlive()
}

// playDead: a cast that nobody will get is an error in Go, as a call is.
func playDead(t *testing.T, _ testCase) {
	s, _, r := startCounter(t, 0, nil)
	_ = r.end()
	if err := s.Cast(t.Context(), addValue{1}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Cast = %v, want %v", err, ErrNotRunning)
	}
	begin := time.Now()
	if _, err := get(t.Context(), s); !errors.Is(err, ErrNotRunning) || time.Since(begin) != 0 {
		t.Errorf("Call = %v after %v, want %v at once", err, time.Since(begin), ErrNotRunning)
	}
}

func playCallTimeout(t *testing.T, c testCase) {
	takes := time.Duration(decode[struct {
		MS int `json:"handler_ms"`
	}](t, c.Setup).MS) * time.Millisecond
	s, _, _ := startCounter(t, 0, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Call(ctx, s, func(r Reply[int]) counterMessage { return setSlowly{r, 7, takes} })
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("Call = %v, want %v", err, ErrTimeout)
	}
	if got, err := get(t.Context(), s); got != 7 || err != nil {
		t.Errorf("get = %d, %v, want 7", got, err)
	}
	begin := time.Now() // and the timeout of a caller who sets none is 5 s
	_, err = Call(t.Context(), s, func(r Reply[int]) counterMessage { return setSlowly{r, 8, time.Minute} })
	if got := time.Since(begin); !errors.Is(err, ErrTimeout) || got != DefaultTimeout {
		t.Errorf("Call = %v after %v, want %v after %v", err, got, ErrTimeout, DefaultTimeout)
	}
	time.Sleep(time.Minute)
}

func playBusy(t *testing.T, c testCase) {
	busy := time.Duration(decode[struct {
		MS int `json:"busy_ms"`
	}](t, c.Setup).MS) * time.Millisecond
	s, _, _ := startCounter(t, 3, nil)
	if err := s.Cast(t.Context(), sleepFor{busy}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := get(ctx, s); !errors.Is(err, ErrTimeout) {
		t.Errorf("first call = %v, want %v", err, ErrTimeout)
	}
	if got, err := get(t.Context(), s); got != 3 || err != nil {
		t.Errorf("second call = %d, %v, want 3", got, err)
	}
}

func playDefer(t *testing.T, c testCase) {
	want := decode[struct{ Reply string }](t, c.Expect).Reply
	s, _, _ := startCounter(t, 0, nil)
	got, err := Call(t.Context(), s, func(r Reply[string]) counterMessage { return deferTo{r} })
	if got != want || err != nil {
		t.Errorf("Call = %q, %v, want %q", got, err, want)
	}
}

// playCallCrash: an error of Handle and a panic end the server. There are no garbage answers: types
// exclude them.
func playCallCrash(t *testing.T, _ testCase) {
	for name, how := range map[string]func() error{
		"panic": func() error { panic(errBoom) },
		"error": func() error { return errBoom },
	} {
		s, counter, r := startCounter(t, 0, nil)
		_, err := Call(t.Context(), s, func(r Reply[int]) counterMessage { return crashWith{r, how} })
		if _, ok := errors.AsType[*DownError](err); !ok || !errors.Is(err, errBoom) {
			t.Errorf("%s: Call = %v, want a *DownError that is %v", name, err, errBoom)
		}
		if !r.ended() || !errors.Is(r.err, errBoom) {
			t.Errorf("%s: Run = %v, want %v", name, r.err, errBoom)
		}
		if got := counter.recorded()[len(counter.recorded())-1]; !strings.HasPrefix(string(got), `["terminate"`) {
			t.Errorf("%s: last event = %s, want terminate", name, got)
		}
	}
}

// playUnknownMessage: messages have a type, so an unknown one is the handler's to refuse, and not
// its end.
func playUnknownMessage(t *testing.T, _ testCase) {
	s, _, r := startCounter(t, 0, nil)
	if _, err := Call(t.Context(), s, func(r Reply[int]) counterMessage { return unknown{r} }); err == nil {
		t.Error("Call = nil, want an error")
	}
	if err := s.Cast(t.Context(), unknown{}); err != nil {
		t.Errorf("Cast = %v, want nil", err)
	}
	r.expectAlive()
}

// playName: the name of a child is unique in its supervisor, a server runs once, and neither has a
// default name.
func playName(t *testing.T, _ testCase) {
	w := newWorld(t)
	sup, _ := w.run(setup{})
	s, err := NewServer(ServerSpec[counterMessage]{
		Name: "counter",
		Init: func(context.Context, *Self[counterMessage]) (Handler[counterMessage], error) {
			return &counter{value: 4}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sup.StartChild(t.Context(), Child{Name: "named", Part: s}); err != nil {
		t.Fatal(err)
	}
	if err := sup.StartChild(t.Context(), Child{Name: "named", Part: s}); !errors.Is(err, ErrAlreadyStarted) {
		t.Errorf("second start = %v, want %v", err, ErrAlreadyStarted)
	}
	if err := s.Run(t.Context()); !errors.Is(err, ErrAlreadyStarted) {
		t.Errorf("second run = %v, want %v", err, ErrAlreadyStarted)
	}
	if got, err := get(t.Context(), s); got != 4 || err != nil {
		t.Errorf("the first one's value = %d, %v, want 4", got, err)
	}
	if err := sup.StartChild(t.Context(), Child{Part: s}); !errors.Is(err, ErrSpec) {
		t.Errorf("start without a name = %v, want %v", err, ErrSpec)
	}
}

func playSendAfter(t *testing.T, c testCase) {
	delay := time.Duration(decode[struct {
		MS int `json:"delay_ms"`
	}](t, c.Setup).MS) * time.Millisecond
	expect := decode[struct{ At10, At60 []caseEvent }](t, c.Expect)
	_, counter, _ := startCounter(t, 0, func(c *counter) { c.self.After(delay, info{"retry"}) })
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
	if got := counter.recorded()[1:]; len(got) != len(expect.At10) {
		t.Errorf("at 10 ms = %v, want %v", got, expect.At10)
	}
	time.Sleep(50 * time.Millisecond)
	synctest.Wait()
	if diff := cmp.Diff(expect.At60, counter.recorded()[1:]); diff != "" {
		t.Errorf("at 60 ms (-want +got):\n%s", diff)
	}
}

func playStop(t *testing.T, c testCase) {
	want := decode[struct{ Terminate string }](t, c.Expect).Terminate
	s, counter, r := startCounter(t, 0, nil)
	if err := s.Cast(t.Context(), addValue{1}); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("Stop = %v, want nil", err)
	}
	wantEvents := []caseEvent{event("init"), event("cast", 1), event("terminate", want, 1)}
	if diff := cmp.Diff(wantEvents, counter.recorded()); diff != "" {
		t.Errorf("events when Stop returned (-want +got):\n%s", diff)
	}
	if got := s.Tree().State; got != StateStopped {
		t.Errorf("state = %s, want %s", got, StateStopped)
	}
	if !r.ended() || r.err != nil {
		t.Errorf("Run = %v, want nil", r.err)
	}
}

// playStopReasons stops servers from inside, for each reason that there is.
func playStopReasons(t *testing.T, c testCase) {
	expect := decode[struct{ Rows [][3]string }](t, c.Expect)
	reasons := map[string]error{
		"normal": ErrStop, "shutdown": ErrShutdown, "shutdown_x": fmt.Errorf("%w: x", ErrShutdown), "err": errBoom,
	}
	names := func(err error) string {
		switch {
		case err == nil:
			return "normal"
		case errors.Is(err, errBoom):
			return "err"
		case errors.Is(err, ErrShutdown) && err != ErrShutdown: //nolint:errorlint // the sentinel itself is another reason
			return "shutdown_x"
		}
		return err.Error()
	}
	for _, row := range expect.Rows {
		s, counter, r := startCounter(t, 0, nil)
		if err := s.Cast(t.Context(), crashWith{how: func() error { return reasons[row[0]] }}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !r.ended() {
			t.Fatalf("%s: alive, want its end", row[0])
		}
		terminated := "nothing"
		if n := len(counter.reasons); n == 1 {
			terminated = "terminate " + names(counter.reasons[0])
		}
		if got := [3]string{row[0], "exit " + names(r.err), terminated}; got != row {
			t.Errorf("got %q, want %q", got, row)
		}
	}
	s, counter, r := startCounter(t, 0, nil)
	if err := s.Cast(t.Context(), crashWith{how: func() error { panic("cast boom") }}); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if p, ok := errors.AsType[*PanicError](r.err); !ok || p.Value != "cast boom" || len(counter.reasons) != 1 {
		t.Errorf("raising: Run = %v, Terminate was called %d times, want its panic and one call", r.err, len(counter.reasons))
	}
}

// failingCleanup is a server whose clean-up panics.
type failingCleanup struct{}

func (failingCleanup) Handle(_ context.Context, err error) error { return err }
func (failingCleanup) Terminate(error)                           { panic("clean-up") }

// playTerminateBug: a clean-up that fails is reported, and the reason stays what it was.
func playTerminateBug(t *testing.T, _ testCase) {
	for _, reason := range []error{nil, fmt.Errorf("x: %w", ErrShutdown), errBoom} {
		s, err := NewServer(ServerSpec[error]{Name: "s", Init: func(context.Context, *Self[error]) (Handler[error], error) {
			return failingCleanup{}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		r := start(t, s)
		if reason == nil {
			err = s.Stop(t.Context())
		} else {
			err = s.Cast(t.Context(), reason)
		}
		if !r.ended() {
			t.Fatal("alive, want its end")
		}
		if reason != nil && (err != nil || !errors.Is(r.err, reason)) {
			t.Errorf("Cast = %v, Run = %v, want nil and %v", err, r.err, reason)
		}
		if _, ok := errors.AsType[*PanicError](r.err); !ok {
			t.Errorf("Run = %v, want it to tell of the clean-up's panic", r.err)
		}
	}
}
