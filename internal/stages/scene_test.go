package stages_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/stages"
)

// scene is a bubble with stages in it, and the log of what they do.
type scene struct {
	*testing.T
	conformance
	all sync.WaitGroup

	mu  sync.Mutex
	log []entry
}

// entry is one thing done by a stage, as the cases write it: [what, who, details...].
type entry []any

func play(t *testing.T, c conformance, script func(*scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, conformance: c}
		t.Cleanup(s.all.Wait) // the bubble's context is cancelled before
		script(s)
	})
}

func (s *scene) note(e ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, e)
}

// happened waits until nothing moves any more, and returns what was logged since the last call.
func (s *scene) happened() []entry {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// pass lets virtual time pass.
func (s *scene) pass(d time.Duration) { time.Sleep(d) }

// want compares what happened with an expectation of the case. The order of entries is exact for
// each stage, and free between stages.
func (s *scene) want(key string, got any) {
	s.Helper()
	var want any
	if err := json.Unmarshal(s.Expect.parts[key], &want); err != nil {
		s.Fatalf("expectation %q: %v", key, err)
	}
	s.same(key, want, got)
}

func (s *scene) same(what string, want, got any) {
	s.Helper()
	if log, ok := got.([]entry); ok {
		want, got = byStage(plain(s.T, want)), byStage(plain(s.T, log))
	}
	if diff := cmp.Diff(plain(s.T, want), plain(s.T, got)); diff != "" {
		s.Errorf("%s: %s (-want +got):\n%s", s.ID, what, diff)
	}
}

// plain turns a value into what its JSON says.
func plain(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func byStage(log any) map[string][]any {
	stages := map[string][]any{}
	entries, _ := log.([]any)
	for _, e := range entries {
		name := "?"
		if e, ok := e.([]any); ok && len(e) > 1 {
			name = fmt.Sprint(e[1])
		}
		stages[name] = append(stages[name], e)
	}
	return stages
}

// number reads a whole number of the case's setup.
func (s *scene) number(key string) int {
	s.Helper()
	var n int
	if err := json.Unmarshal(s.Setup[key], &n); err != nil {
		s.Fatalf("setup %q: %v", key, err)
	}
	return n
}

// text reads a text of the case's setup.
func (s *scene) text(key string) string {
	s.Helper()
	var text string
	if err := json.Unmarshal(s.Setup[key], &text); err != nil {
		s.Fatalf("setup %q: %v", key, err)
	}
	return text
}

// terms are the subscription options of the case's setup.
func (s *scene) terms() stages.SubscribeOptions[any] {
	o := stages.SubscribeOptions[any]{Cancel: stages.Temporary}
	if _, ok := s.Setup["max_demand"]; ok {
		o = demand(s.number("max_demand"), s.number("min_demand"))
	}
	return o
}

// demand are the options of a temporary subscription.
func demand(maxDemand, minDemand int) stages.SubscribeOptions[any] {
	return stages.SubscribeOptions[any]{MaxDemand: maxDemand, MinDemand: &minDemand, Cancel: stages.Temporary}
}

// run is one Run of a stage.
type run struct {
	stop context.CancelFunc
	done chan struct{} // closed when Run has returned err
	err  error
}

func (r *run) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// result is what Run returned; nil if it has not returned.
func (r *run) result() error {
	if !r.ended() {
		return nil
	}
	return r.err
}

var errKilled = errors.New("killed")

// start runs a stage until the scene is over. A panic ends it with errKilled.
func (s *scene) start(stage interface{ Run(context.Context) error }) *run {
	ctx, stop := context.WithCancel(s.Context())
	r := &run{stop: stop, done: make(chan struct{})}
	s.all.Go(func() {
		defer stop()
		defer close(r.done)
		defer func() {
			if recover() != nil {
				r.err = errKilled
			}
		}()
		r.err = stage.Run(ctx)
	})
	synctest.Wait() // else a restarted producer might still refuse subscriptions
	return r
}

// producer returns a running producer whose demands are logged, and what source gives for them
// emitted.
func (s *scene) producer(name string, source func(n int) []any, c stages.OutletConfig[any]) *stages.Producer[any] {
	s.Helper()
	p := s.idleProducer(name, source, c)
	s.start(p)
	return p
}

func (s *scene) idleProducer(name string, source func(n int) []any, c stages.OutletConfig[any]) *stages.Producer[any] {
	s.Helper()
	c.OnJoin = func() { s.note("psub", name) }
	return must(stages.NewProducer(stages.ProducerConfig[any]{
		OutletConfig: c,
		Demand: func(_ context.Context, n int, out []any) ([]any, error) {
			s.note("demand", name, n)
			if source == nil {
				return out, nil
			}
			return append(out, source(n)...), nil
		},
	}))
}

// upTo is a source of the ints below limit.
func upTo(limit int) func(int) []any {
	next := 0
	return func(n int) (events []any) {
		for ; n > 0 && next < limit; n-- {
			events = append(events, next)
			next++
		}
		return events
	}
}

// consumer is a consumer whose batches are logged, and which may be made to stop in each until it
// is released.
type consumer struct {
	*stages.Consumer[any]
	gate chan struct{} // nil: never stops.
	run  *run
}

func (s *scene) consumer(name string) *consumer { return s.newConsumer(name, nil) }

func (s *scene) gated(name string) *consumer { return s.newConsumer(name, make(chan struct{})) }

func (s *scene) newConsumer(name string, gate chan struct{}) *consumer {
	s.Helper()
	c := &consumer{gate: gate}
	c.Consumer = must(stages.NewConsumer(stages.ConsumerConfig[any]{
		Hooks: stages.Hooks[any]{
			OnCancel: func(_ *stages.Subscription[any], reason error) { s.note("ccancel", name, fmt.Sprint(reason)) },
		},
		Handle: func(_ context.Context, batch []any) error {
			s.note("batch", name, append([]any{}, batch...))
			if c.gate != nil {
				select {
				case <-c.gate:
				case <-s.Context().Done():
				}
			}
			s.note("done", name)
			return nil
		},
	}))
	c.run = s.start(c)
	return c
}

// release lets the consumer finish its batch, and waits until nothing moves.
func (s *scene) release(c *consumer) []entry {
	s.Helper()
	synctest.Wait()
	select {
	case c.gate <- struct{}{}:
	default:
		s.Error("the consumer is not in a batch")
	}
	return s.happened()
}

// push emits events and waits until nothing moves.
func (s *scene) push(p *stages.Producer[any], events ...any) {
	s.Helper()
	if err := p.Emit(s.Context(), events); err != nil {
		s.Errorf("Emit: %v", err)
	}
	synctest.Wait()
}

// only returns the entries of one kind, without kind and name.
func only(log []entry, what string) []any {
	found := []any{}
	for _, e := range log {
		if e[0] == what {
			found = append(found, e[len(e)-1])
		}
	}
	return found
}

// brief writes the events of batches as size, first and last.
func brief(log []entry) []entry {
	for _, e := range log {
		if events, ok := e[len(e)-1].([]any); ok && e[0] == "batch" && len(events) > 0 {
			e[len(e)-1] = []any{len(events), events[0], events[len(events)-1]}
		}
	}
	return log
}
