package stages_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

func TestConsumerSupervisorCases(t *testing.T) {
	enact(t, "consumer_supervisor.json", map[string]func(*scene){
		"cs-book":                    bookSupervisor,
		"cs-temporary-crash":         temporaryCrash,
		"cs-transient-crash":         transientCrash,
		"cs-transient-poison":        poison,
		"cs-shutdown-exit":           shutdownExit,
		"cs-permanent-rejected":      permanentRejected,
		"cs-start-error":             startError,
		"cs-outlive-producer":        outliveProducer,
		"cs-permanent-producer-kill": drainAfterProducer,
		"cs-stop":                    stopSupervisor,
		"cs-book-unbounded":          boundedByDemand,
	})
}

// job is the event of these scenes: its child works for a while and ends with the errors in turn,
// the last one for good.
type job struct {
	id      any
	takes   time.Duration
	results []error
	starts  int
}

var errStart = errors.New("cannot start")

// crew is a consumer supervisor whose children are logged as [start, id] and [stop, id].
type crew struct {
	*stages.ConsumerSupervisor[any]
	run         *run
	active, top int
	gaveUp      []any
	free        int
}

func (s *scene) crew(config stages.ConsumerSupervisorConfig[any]) *crew {
	s.Helper()
	c := new(crew)
	config.Start = func(ctx context.Context, event any, slot stages.Slot[any]) error {
		j := event.(*job)
		result := j.results[min(j.starts, len(j.results)-1)]
		j.starts++
		if errors.Is(result, errStart) {
			s.note("start_error", j.id)
			return result
		}
		s.mu.Lock()
		c.active++
		c.top = max(c.top, c.active)
		s.mu.Unlock()
		s.note("start", j.id)
		s.all.Go(func() {
			select {
			case <-time.After(j.takes):
			case <-ctx.Done():
			}
			s.note("stop", j.id)
			s.mu.Lock()
			c.active--
			s.mu.Unlock()
			slot.Ended(result)
		})
		return nil
	}
	config.OnGiveUp = func(event any, _ error) { c.gaveUp = append(c.gaveUp, event.(*job).id) }
	config.OnFree = func(n int) { c.free += n }
	c.ConsumerSupervisor = must(stages.NewConsumerSupervisor(config))
	c.run = s.start(c)
	return c
}

// children returns the log with the producer's name and subscriptions left out.
func children(log []entry) (found []entry) {
	for _, e := range log {
		switch e[0] {
		case "demand":
			found = append(found, entry{"demand", e[2]})
		case "start", "stop", "start_error":
			found = append(found, e)
		}
	}
	return found
}

// wantSequence compares two logs entry by entry: what the scene's time decides is an exact
// sequence.
func (s *scene) wantSequence(key string, got []entry) {
	s.Helper()
	var want any
	if err := json.Unmarshal(s.Expect[key], &want); err != nil {
		s.Fatal(err)
	}
	s.same(key, want, plain(s.T, append([]entry{}, got...)))
}

// later lets virtual time pass and returns what happened.
func (s *scene) later() []entry {
	time.Sleep(time.Second)
	return s.happened()
}

func bookSupervisor(s *scene) {
	var durations map[string]int
	if err := json.Unmarshal(s.Setup["durations_ms"], &durations); err != nil {
		s.Fatal(err)
	}
	var order []string
	if err := json.Unmarshal(s.Expect["start_order"], &order); err != nil {
		s.Fatal(err)
	}
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.crew(stages.ConsumerSupervisorConfig[any]{Restart: stages.Transient})
	must(c.Subscribe(p, stages.SubscribeOptions[any]{MaxDemand: s.number("max_demand"), Cancel: stages.Temporary}))
	s.wantSequence("initial", children(s.happened()))
	var jobs []any
	for _, id := range order {
		jobs = append(jobs, &job{id: id, takes: time.Duration(durations[id]) * time.Millisecond, results: []error{nil}})
	}
	s.push(p, jobs...)
	log := s.later()
	started := []any{}
	for _, e := range log {
		if e[0] == "start" {
			started = append(started, e[1])
		}
	}
	s.want("start_order", started)
	s.want("demands", only(log, "demand"))
	s.want("max_concurrent", c.top)
	if c.active != 0 || c.free != len(jobs) {
		s.Errorf("%d children are active and %d slots came free, want 0 and %d", c.active, c.free, len(jobs))
	}
}

// single plays jobs one after the other, at max demand 1.
func single(s *scene, restart stages.Mode, jobs ...any) (*crew, []entry) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.crew(stages.ConsumerSupervisorConfig[any]{Restart: restart})
	must(c.Subscribe(p, demand(s.number("max_demand"), 0)))
	log := s.happened()
	s.push(p, jobs...)
	return c, append(log, s.later()...)
}

func temporaryCrash(s *scene) {
	c, log := single(s, stages.Temporary, &job{id: 1, results: []error{errBoom}}, &job{id: 2, results: []error{nil}})
	s.wantSequence("events", children(log))
	s.want("alive", !c.run.ended())
	s.same("given up", []int{1}, c.gaveUp)
}

func transientCrash(s *scene) {
	c, log := single(s, stages.Transient, &job{id: 1, results: []error{errBoom, nil}}, &job{id: 2, results: []error{nil}})
	s.wantSequence("events", children(log))
	s.want("alive", !c.run.ended())
}

// shutdownExit: in whose words a child was shut down does not matter.
func shutdownExit(s *scene) {
	for _, shutdown := range []error{
		supervisor.ErrShutdown, supervisor.ErrShutdown, context.Canceled, fmt.Errorf("stopped: %w", supervisor.ErrShutdown),
	} {
		c, log := single(s, stages.Transient, &job{id: 1, results: []error{shutdown}}, &job{id: 2, results: []error{nil}})
		s.wantSequence("events", children(log))
		s.same("given up", []any(nil), c.gaveUp)
	}
}

func startError(s *scene) {
	// A child that ignores is one that starts nothing and ends at once.
	_, log := single(s, stages.Temporary,
		&job{id: 1, results: []error{errStart}}, &job{id: 2, results: []error{errStart}}, &job{id: 3, results: []error{nil}})
	for _, e := range log {
		if e[0] == "start_error" && e[1] == 2 {
			e[0] = "ignore"
		}
	}
	var got []entry
	for _, e := range log {
		if e[0] == "ignore" {
			got = append(got, e)
		} else {
			got = append(got, children([]entry{e})...)
		}
	}
	s.wantSequence("events", got)
}

// poison: the budget is the event's own, so the others go on.
func poison(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.crew(stages.ConsumerSupervisorConfig[any]{Restart: stages.Transient, MaxRestarts: new(s.number("max_restarts"))})
	must(c.Subscribe(p, demand(s.number("max_demand"), 0)))
	synctest.Wait()
	long := &job{id: "long", takes: time.Second, results: []error{nil}}
	crash := &job{id: 1, results: []error{errBoom}}
	s.push(p, long, crash, &job{id: 2, results: []error{nil}}, &job{id: 3, results: []error{nil}})
	time.Sleep(time.Second)
	log := s.later()
	stopped := []any{}
	for _, e := range log {
		if e[0] == "stop" {
			stopped = append(stopped, e[1])
		}
	}
	s.same("order of ends", []any{1, 1, 1, 1, 2, 3, "long"}, stopped)
	s.same("given up", []int{1}, c.gaveUp)
	if c.run.ended() {
		s.Error("the consumer supervisor ended")
	}
}

func permanentRejected(s *scene) {
	_, err := stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[any]{
		Start: func(context.Context, any, stages.Slot[any]) error { return nil },
	})
	if !errors.Is(err, stages.ErrInvalidOption) {
		s.Errorf("NewConsumerSupervisor = %v, want ErrInvalidOption", err)
	}
}

func outliveProducer(s *scene) {
	p := s.idleProducer("p", nil, stages.OutletConfig[any]{})
	r := s.start(p)
	c := s.crew(stages.ConsumerSupervisorConfig[any]{Restart: stages.Temporary})
	must(c.Subscribe(p, stages.SubscribeOptions[any]{MaxDemand: s.number("max_demand"), Cancel: stages.Temporary}))
	log := s.happened()
	s.push(p, &job{id: 1, takes: 30, results: []error{nil}}, &job{id: 2, takes: 60, results: []error{nil}})
	r.stop()
	log = append(log, s.later()...)
	s.wantSequence("events", children(log))
	s.want("alive", !c.run.ended())
}

// drainAfterProducer: the consumer supervisor ends with its producer, but only after its children.
func drainAfterProducer(s *scene) {
	p := s.idleProducer("p", nil, stages.OutletConfig[any]{})
	r := s.start(p)
	c := s.crew(stages.ConsumerSupervisorConfig[any]{Restart: stages.Temporary})
	must(c.Subscribe(p, stages.SubscribeOptions[any]{MaxDemand: s.number("max_demand")}))
	s.happened()
	s.push(p, &job{id: 1, takes: 30, results: []error{nil}}, &job{id: 2, takes: 60, results: []error{nil}})
	s.happened()
	r.stop()
	if synctest.Wait(); c.run.ended() {
		s.Error("ended before its children")
	}
	log := s.later()
	s.same("children", []entry{{"stop", 1}, {"stop", 2}}, children(log))
	if !errors.Is(c.run.result(), supervisor.ErrShutdown) {
		s.Errorf("ended with %v, want ErrShutdown", c.run.result())
	}
}

// stopSupervisor: children may go on for the grace period, then their context is cancelled.
func stopSupervisor(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	grace := time.Duration(s.number("shutdown_ms")) * time.Millisecond
	c := s.crew(stages.ConsumerSupervisorConfig[any]{Restart: stages.Temporary, Grace: &grace})
	must(c.Subscribe(p, demand(2, 0)))
	s.happened()
	s.push(p, &job{id: "short", takes: 60 * time.Millisecond, results: []error{nil}},
		&job{id: "endless", takes: time.Hour, results: []error{nil}})
	time.Sleep(10 * time.Millisecond)
	stopped := time.Now()
	c.run.stop()
	var log []entry
	for !c.run.ended() {
		time.Sleep(time.Millisecond)
		log = append(log, s.happened()...)
	}
	if took := time.Since(stopped); took < grace || took > grace+10*time.Millisecond {
		s.Errorf("stopping took %v, want the grace period of %v", took, grace)
	}
	s.same("ends", []any{"short", "endless"}, only(slices.DeleteFunc(log, func(e entry) bool { return e[0] != "stop" }), "stop"))
	if c.run.result() != nil {
		s.Errorf("Run = %v, want nil", c.run.result())
	}
}

// boundedByDemand: the limit is the subscription's, and of a manual one exactly what was asked for.
func boundedByDemand(s *scene) {
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.crew(stages.ConsumerSupervisorConfig[any]{Restart: stages.Temporary})
	sub := must(c.Subscribe(p, stages.SubscribeOptions[any]{Manual: true, Cancel: stages.Temporary}))
	synctest.Wait()
	sub.Ask(2)
	var jobs []any
	for i := range 50 {
		jobs = append(jobs, &job{id: i, takes: 60 * time.Millisecond, results: []error{nil}})
	}
	s.push(p, jobs...)
	s.later()
	if c.top != 2 || c.free != 2 {
		s.Errorf("%d children at once and %d free slots reported, want 2 and 2", c.top, c.free)
	}
}
