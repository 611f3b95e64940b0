package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	self  *Self[counterMessage]
	value int
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

// playInitResults starts children that refuse, fail, panic and dawdle. The caller of StartChild learns why, and
// nobody else ends because of it.
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

// playCallCrash: an error of Handle and a panic end the server. There are no garbage answers: types exclude them.
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

// playUnknownMessage: messages have a type, so an unknown one is the handler's to refuse, and not its end.
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

// playName: the name of a child is unique in its supervisor, a server runs once, and neither has a default name.
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

// playSendServer plays the server of the example.
func playSendServer(t *testing.T, c testCase) {
	s := decode[struct {
		MaxRetries int `json:"max_retries"`
		TickMS     int `json:"tick_ms"`
	}](t, c.Setup)
	expect := decode[struct {
		State         sendState
		RetryAttempts int `json:"retry_attempts"`
	}](t, c.Expect)
	attempts := 0
	server, err := newSendServer(s.MaxRetries, time.Duration(s.TickMS)*time.Millisecond, func(email string) error {
		if email == "konnichiwa@world.com" {
			attempts++
			return errBoom
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, server)
	for _, email := range []string{"hello@world.com", "aloha@world.com", "konnichiwa@world.com"} {
		if err := server.Cast(t.Context(), send{email}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(5*time.Duration(s.TickMS)*time.Millisecond + time.Millisecond)
	got, err := Call(t.Context(), server, func(r Reply[sendState]) sendMessage { return state{r} })
	if diff := cmp.Diff(expect.State, got); diff != "" || err != nil {
		t.Errorf("state (-want +got):\n%s\n%v", diff, err)
	}
	if attempts-1 != expect.RetryAttempts {
		t.Errorf("retries = %d, want %d", attempts-1, expect.RetryAttempts)
	}
}

func playSendServerDefault(t *testing.T, c testCase) {
	want := decode[struct{ State sendState }](t, c.Expect).State
	server, err := newSendServer(0, time.Second, func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	start(t, server)
	got, err := Call(t.Context(), server, func(r Reply[sendState]) sendMessage { return state{r} })
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("state (-want +got):\n%s\n%v", diff, err)
	}
}

// job is the book's job as a child: it tries its work, and again after a delay, up to a number of retries. Its errors
// are its own affair; a panic is its supervisor's.
type job struct {
	id         string
	work       func() error
	maxRetries int
	delay      time.Duration
	recorder
}

// starts counts how often the job was started.
func (j *job) starts() int {
	starts := 0
	for _, e := range j.recorded() {
		if e == event("job_start", j.id) {
			starts++
		}
	}
	return starts
}

// runReady has the wanted side effect of an init: a job that cannot work does not start.
func (j *job) runReady(ctx context.Context, ready func()) error {
	if j.work == nil {
		return errors.New("key work not found")
	}
	ready()
	j.record("job_start", j.id)
	if err := j.work(); err != nil {
		j.record("errored")
		return j.retry(ctx)
	}
	j.record("completed")
	j.record("job_exiting", "done", 0)
	return nil
}

// retry compares before it schedules, so that no retries means none.
func (j *job) retry(ctx context.Context) error {
	for retries := 1; retries <= j.maxRetries; retries++ {
		select {
		case <-time.After(j.delay):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := j.work(); err == nil {
			j.record("completed")
			j.record("job_exiting", "done", retries-1) // those that failed
			return nil
		}
		j.record("retry_failed")
	}
	j.record("job_exiting", "failed", j.maxRetries)
	return nil
}

func (j *job) child(r Restart) Child {
	return Child{Name: "job", RunReady: j.runReady, Restart: r}
}

// supervisor isolates the job: what becomes of it concerns nobody else, and when it has ended so has its supervisor.
func (j *job) supervisor(t *testing.T, maxRestarts int) Child {
	t.Helper()
	c := j.child(Transient)
	c.Significant = true
	sup, err := New(Spec{
		Name: "job", MaxRestarts: maxRestarts, Within: time.Hour, AutoShutdown: AnySignificant, Children: []Child{c},
	})
	if err != nil {
		t.Fatal(err)
	}
	return Child{Name: "job supervisor", Part: sup, Restart: Temporary}
}

// newRunner is the dynamic supervisor of all jobs, below a supervisor that replaces it.
func newRunner(t *testing.T, maxRestarts int) (*Dynamic, *Supervisor) {
	t.Helper()
	runner, err := NewDynamic(DynamicSpec{Name: "runner", MaxRestarts: maxRestarts, Within: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	sup, err := New(Spec{Name: "app", Children: []Child{{Name: "runner", Part: runner}}})
	if err != nil {
		t.Fatal(err)
	}
	start(t, sup)
	return runner, sup
}

func playJob(t *testing.T, c testCase) {
	s := decode[struct {
		MaxRetries int `json:"max_retries"`
		DelayMS    int `json:"retry_delay_ms"`
	}](t, c.Setup)
	id, failures := "b", 1000
	if strings.HasPrefix(c.ID, "job-flaky") {
		id, failures = "f", 2
	}
	j := &job{id: id, maxRetries: s.MaxRetries, delay: time.Duration(s.DelayMS) * time.Millisecond, work: func() error {
		if failures == 0 {
			return nil
		}
		failures--
		return errBoom
	}}
	runner, _ := newRunner(t, 3)
	if err := runner.Start(j.supervisor(t, 3)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	want := decode[struct{ Events []caseEvent }](t, c.Expect).Events
	if c.Verdict == "avoid" { // the book's job without retries never ends
		want = []caseEvent{event("job_start", "b"), event("errored"), event("job_exiting", "failed", 0)}
	}
	if diff := cmp.Diff(want, j.recorded()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// playJobLoop: what runs to completion is transient, and so is not repeated.
func playJobLoop(t *testing.T, _ testCase) {
	j := &job{id: "g", work: func() error { return nil }}
	runner, sup := newRunner(t, 3)
	if err := runner.Start(j.child(Transient)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if j.starts() != 1 || sup.Tree().Children[0].Restarts != 0 {
		t.Errorf("starts = %d, runner replaced %d times, want 1, 0", j.starts(), sup.Tree().Children[0].Restarts)
	}
}

// playDoomedJob panics in a job: isolated, it ends nothing but its own supervisor. Directly below the runner it would
// use the restarts of all, so the two cases are the same in Go.
func playDoomedJob(t *testing.T, c testCase) {
	maxRestarts := decode[struct {
		MaxRestarts int `json:"max_restarts"`
	}](t, c.Setup).MaxRestarts
	starts := decode[struct {
		Starts int `json:"doomed_starts"`
	}](t, c.Expect).Starts
	long := &job{id: "long", work: func() error { time.Sleep(time.Hour); return nil }}
	doomed := &job{id: "doomed", work: func() error { panic("doomed") }}
	runner, sup := newRunner(t, maxRestarts)
	for _, j := range []*job{long, doomed} {
		if err := runner.Start(j.supervisor(t, maxRestarts)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Minute)
	if doomed.starts() != starts {
		t.Errorf("starts of the doomed job = %d, want %d", doomed.starts(), starts)
	}
	tree := sup.Tree().Children[0]
	if tree.Restarts != 0 || len(tree.Children) != 1 || tree.Children[0].Kind != KindSupervisor {
		t.Errorf("runner = %+v, want it never restarted, with the long job's supervisor", tree)
	}
	if diff := cmp.Diff([]caseEvent{event("job_start", "long")}, long.recorded()); diff != "" {
		t.Errorf("events of the long job (-want +got):\n%s", diff)
	}
	time.Sleep(time.Hour) // the long job does not heed its context
}

func playJobLeak(t *testing.T, c testCase) {
	want := decode[struct {
		GoExpect struct {
			Children int `json:"runner_children"`
		} `json:"go_expect"`
	}](t, c.Expect).GoExpect.Children
	runner, _ := newRunner(t, 3)
	for range 3 {
		j := &job{id: "g", work: func() error { return nil }}
		if err := runner.Start(j.supervisor(t, 3)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	if got := len(runner.Tree().Children); got != want {
		t.Errorf("children = %d, want %d", got, want)
	}
}

// playJobIdentity: the id is given to a job when it is made, and a restart is of the same job.
func playJobIdentity(t *testing.T, _ testCase) {
	j := &job{id: "fixed", work: func() error { panic("doomed") }}
	runner, _ := newRunner(t, 3)
	if err := runner.Start(j.supervisor(t, 3)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	ids := slices.Compact(j.recorded())
	if diff := cmp.Diff([]caseEvent{event("job_start", "fixed")}, ids); diff != "" || j.starts() != 4 {
		t.Errorf("ids of %d starts (-want +got):\n%s", j.starts(), diff)
	}
}

func playJobWithoutWork(t *testing.T, c testCase) {
	runner, _ := newRunner(t, 3)
	err := runner.StartReady(t.Context(), (&job{}).supervisor(t, 3))
	failed, ok := errors.AsType[*StartError](err)
	if !ok || !strings.Contains(err.Error(), "key work not found") {
		t.Errorf("StartReady = %v, want the error of %s", err, c.Expect)
	} else if inner, ok := errors.AsType[*StartError](failed.Err); !ok || inner.Child != "job" {
		t.Errorf("StartReady = %v, want it to name the job", err)
	}
	synctest.Wait()
	if got := runner.Tree().Children; len(got) != 0 {
		t.Errorf("children = %v, want none", got)
	}
}
