package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// scene is a bubble with a pipeline in it, and the log of what it does.
type scene struct {
	*testing.T
	conformance
	source *feed
	run    sync.WaitGroup
	stop   context.CancelFunc
	err    error // of Run, after run
	p      *pipeline.Pipeline[item]
	took   time.Duration // of a step that stops

	mu            sync.Mutex
	log           []entry
	handled       []handling
	running, most int // in Process
}

// handling is when Process was called with a value.
type handling struct {
	value any
	at    time.Time
}

// entry is one thing done, as the cases write it: [what, details...].
type entry []any

func (s *scene) note(e ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, e)
}

// happened waits until nothing moves any more, and returns what was logged since the last call.
func (s *scene) happened(only ...string) []entry {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	log := append([]entry{}, s.log...)
	s.log = nil
	if len(only) > 0 {
		log = slices.DeleteFunc(log, func(e entry) bool { what, _ := e[0].(string); return !slices.Contains(only, what) })
	}
	return log
}

// want compares with an expectation of the case. inAnyOrder: the order is free.
func (s *scene) want(key string, got any, inAnyOrder bool) {
	s.Helper()
	if _, ok := s.Expect[key]; !ok {
		s.Fatalf("%s expects no %q", s.ID, key)
	}
	want, have := s.decoded(key), plain(s.T, got)
	if inAnyOrder {
		want, have = sorted(want), sorted(have)
	}
	s.equal(key, want, have)
}

// number reads a whole number of the case's setup, or says what it is by default.
func (s *scene) number(key string, byDefault int) int {
	s.Helper()
	raw, ok := s.Setup[key]
	if !ok {
		return byDefault
	}
	var n int
	if err := json.Unmarshal(raw, &n); err != nil {
		s.Fatalf("setup %q: %v", key, err)
	}
	return n
}

func (s *scene) ms(key string, byDefault int) time.Duration {
	s.Helper()
	return time.Duration(s.number(key, byDefault)) * time.Millisecond
}

// config is a pipeline that logs what the cases tell of, whose processors ask for maxDemand.
func (s *scene) config(maxDemand int) pipeline.Config[item] {
	processors := s.number("processors", 1)
	s.source = &feed{scene: s, came: make(chan struct{}, 1)}
	return pipeline.Config[item]{
		Name: "case", Source: s.source, Concurrency: processors, InFlight: processors * maxDemand,
		Process: func(ctx context.Context, m *pipeline.Message[item]) error { return s.process(ctx, m.Value) },
		Logger:  slog.New(slog.DiscardHandler),
	}
}

// failure is a status of the cases: failed with a reason.
type failure string

func (f failure) Error() string { return string(f) }

var reasons = regexp.MustCompile(`\["failed", *"(\w+)"\]`)

// reason is what the case's messages fail with.
func (s *scene) reason() failure {
	for _, raw := range s.Expect {
		if found := reasons.FindSubmatch(raw); found != nil {
			return failure(found[1])
		}
	}
	return "x"
}

func (s *scene) process(ctx context.Context, i item) error {
	s.mu.Lock()
	s.handled = append(s.handled, handling{i.value, time.Now()})
	s.log = append(s.log, entry{"h", i.value})
	s.running++
	s.most = max(s.most, s.running)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
	}()
	if i.takes > 0 {
		timer := time.NewTimer(i.takes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	switch {
	case i.inBatch:
	case i.value == "fail" || i.fails:
		return s.reason()
	case slices.Contains([]any{"raise", "error", "throw", "bad_return"}, i.value):
		panic("raised")
	case i.value == "kill", i.value == "exit":
		runtime.Goexit()
	}
	return nil
}

// start runs the pipeline until the scene is over.
func (s *scene) start(c pipeline.Config[item]) {
	s.Helper()
	p, err := pipeline.New(c)
	if err != nil {
		s.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(s.Context()))
	s.p, s.stop = p, stop
	s.run.Go(func() { s.err = p.Run(ctx) })
	synctest.Wait()
}

func (s *scene) end() {
	if s.stop != nil {
		s.stop()
		s.run.Wait()
		s.stop = nil
	}
}

// feed is a source of what is pushed.
type feed struct {
	*scene
	waiting []item
	came    chan struct{}
}

func (f *feed) push(items ...item) {
	f.mu.Lock()
	f.waiting = append(f.waiting, items...)
	f.mu.Unlock()
	select {
	case f.came <- struct{}{}:
	default:
	}
}

func (f *feed) Pull(ctx context.Context, n int, out []pipeline.Delivery[item]) ([]pipeline.Delivery[item], error) {
	f.note("demand", n)
	for {
		f.mu.Lock()
		k := min(n, len(f.waiting))
		for _, i := range f.waiting[:k] {
			out = append(out, pipeline.Delivery[item]{Value: i, Ref: i, Acker: f.acker(i), Meta: map[string]string{}})
		}
		f.waiting = f.waiting[k:]
		f.mu.Unlock()
		if k > 0 {
			return out, nil
		}
		select {
		case <-f.came:
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
}

// acker is (acknowledger, ack_ref) of the cases.
type acker struct {
	*scene
	ref           string
	other, raises bool
}

type configurable struct{ acker }

func (f *feed) acker(i item) pipeline.Acker {
	a := acker{f.scene, i.ref, i.other, i.raises}
	if i.settings {
		return configurable{a}
	}
	return a
}

func (a configurable) Configure(_, option any) error {
	a.note("configure", a.ref, "data", option)
	return nil
}

func (a acker) Settle(_ context.Context, ends []pipeline.End) error {
	if a.raises {
		panic("raised")
	}
	ok, failed := []any{}, []any{}
	for _, e := range ends {
		i, is := e.Ref.(item)
		switch {
		case !is:
			a.Errorf("settled %v", e.Ref)
		case e.Err == nil:
			ok = append(ok, i.value)
		case errors.Is(e.Err, pipeline.ErrHandedBack):
		default:
			value := i.value
			if e.Meta["seen"] != "" && a.tellsSeen() {
				value = []any{"seen", i.value}
			}
			failed = append(failed, []any{value, status(e.Err)})
		}
	}
	if len(ok)+len(failed) > 0 {
		a.note("ack", a.ref, ok, failed)
	}
	return nil
}

// tellsSeen reports whether the case wants to see that Failed has changed a message.
func (s *scene) tellsSeen() bool {
	for _, raw := range s.Expect {
		if strings.Contains(string(raw), `"seen"`) {
			return true
		}
	}
	return false
}

func status(err error) []any {
	if f, ok := errors.AsType[failure](err); ok {
		return []any{"failed", string(f)}
	}
	return []any{"error", "RuntimeError"}
}
