package stages_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

// Cases of children started for events.
func TestConsumerSupervisorCases(t *testing.T) {
	enact(t, "consumer_supervisor", playCrew,
		script{expects: "error", knows: `restart|error|start`, enact: restartRejected},
		script{expects: "go_expect", setup: "max_restarts", knows: strings.Join(crewSetup, "|") + `|go_expect|push .+`, enact: playPoison},
		script{expects: "go_expect", knows: `max_demand|go_expect|push \d+ of \d+ ms`, enact: boundedByDemand},
	)
}

// crewSetup are the words of a setup.
var crewSetup = []string{"max_demand", "min_demand", "restart", "durations_ms", "max_restarts", "cancel", "shutdown_ms"}

// crewPlayer plays a case by its words.
type crewPlayer struct {
	player
	crew    *crew
	p       *stages.Producer[any]
	source  *run
	initial []entry // of the subscription
	log     []entry // since
	names   []string
	jobs    []*job
	stopped time.Time
	took    time.Duration
}

func playCrew(s *scene) {
	x := newCrewPlayer(s)
	for _, step := range s.Steps {
		for clause := range strings.FieldsFuncSeq(step, func(r rune) bool { return r == ';' }) {
			x.take(strings.TrimSpace(clause))
		}
	}
	x.await()
	x.adapt()
	for _, key := range s.Expect.keys {
		x.compareKey(key, s.Expect.parts[key])
	}
}

func newCrewPlayer(s *scene) *crewPlayer {
	s.Helper()
	for key := range s.Setup {
		if !slices.Contains(crewSetup, key) {
			s.Fatalf("%s: unknown setup %q", s.ID, key)
		}
	}
	x := &crewPlayer{player: player{scene: s}}
	var err error
	if x.names, err = x.inOrder("durations_ms"); err != nil {
		s.Fatal(err)
	}
	restart, known := modes[x.optional("restart")]
	if !known {
		s.Fatalf("%s: unknown restart %s", s.ID, s.Setup["restart"])
	}
	c := stages.ConsumerSupervisorConfig[any]{Restart: restart}
	if s.Setup["max_restarts"] != nil {
		c.MaxRestarts = new(s.number("max_restarts"))
	}
	if s.Setup["shutdown_ms"] != nil {
		c.Grace = new(time.Duration(s.number("shutdown_ms")) * time.Millisecond)
	}
	x.p = s.idleProducer("p", nil, stages.OutletConfig[any]{})
	x.source = s.start(x.p)
	x.crew = s.crew(c)
	o := x.termsOf("crew")
	if o.MaxDemand == 0 {
		o.MaxDemand = 2
	}
	must(x.crew.Subscribe(x.p, o))
	x.initial = s.happened()
	return x
}

var (
	pushPattern = regexp.MustCompile(`^push (\d+)(?: of (\d+) ms)?$`)
	stopPattern = regexp.MustCompile(`^stop(?: after (\d+) ms)?$`)
	waitPattern = regexp.MustCompile(`^wait (\d+) ms$`)
)

// take takes a step. What is pushed are jobs: so many of them, or what each of them does.
func (x *crewPlayer) take(step string) {
	x.Helper()
	if what, ok := strings.CutSuffix(step, ", kill the producer"); ok {
		x.take(what)
		x.log = append(x.log, x.happened()...)
		x.source.stop()
		return
	}
	if what, after, ok := strings.Cut(step, ", stop"); ok {
		x.take(what)
		x.take("stop" + after)
		return
	}
	if m := pushPattern.FindStringSubmatch(step); m != nil {
		for range x.int(m[1]) {
			x.jobs = append(x.jobs, x.job("ok", m[2]))
		}
		x.pushJobs(x.int(m[1]))
		return
	}
	if what, ok := strings.CutPrefix(step, "push "); ok {
		n := 0
		for kind := range strings.SplitSeq(what, ", ") {
			x.jobs = append(x.jobs, x.job(kind, ""))
			n++
		}
		x.pushJobs(n)
		return
	}
	if m := waitPattern.FindStringSubmatch(step); m != nil {
		time.Sleep(time.Duration(x.int(m[1])) * time.Millisecond)
		return
	}
	m := stopPattern.FindStringSubmatch(step)
	switch {
	case m == nil && step != "start":
		x.Fatalf("%s: unknown step %q", x.ID, step)
	case m != nil:
		if m[1] != "" {
			time.Sleep(time.Duration(x.int(m[1])) * time.Millisecond)
		}
		x.stopped = time.Now()
		x.crew.run.stop()
	}
}

func (x *crewPlayer) pushJobs(n int) {
	x.Helper()
	var events []any
	for _, j := range x.jobs[len(x.jobs)-n:] {
		events = append(events, j)
	}
	x.push(x.p, events...)
}

// endings are how a job of a kind ends, the last one for good.
var endings = map[string][]error{
	"ok": {nil}, "crash": {errBoom}, "crash-once": {errBoom, nil}, "crash-twice": {errBoom, errBoom, nil}, "long": {nil},
	"start-error": {errStart}, "ignore": {errIgnored}, "shutdown-exit": {supervisor.ErrShutdown}, "normal": {nil},
}

// job makes one of a kind. Its name is that of the setup, or its number; a long one is called that.
func (x *crewPlayer) job(kind, ms string) *job {
	x.Helper()
	results, ok := endings[kind]
	if !ok {
		x.Fatalf("%s: unknown job %q", x.ID, kind)
	}
	id := 1
	for _, j := range x.jobs {
		if _, numbered := j.id.(int); numbered {
			id++
		}
	}
	j := &job{id: id, takes: time.Duration(id) * time.Microsecond, results: results}
	switch {
	case kind == "long":
		j.id, j.takes = "long", time.Second
	case ms != "":
		j.takes = time.Duration(x.int(ms)) * time.Millisecond
	case len(x.jobs) < len(x.names):
		name := x.names[len(x.jobs)]
		j.id, j.takes = name, time.Duration(x.inSetup("durations_ms", name))*time.Millisecond
	}
	return j
}

// await lets all end that ends.
func (x *crewPlayer) await() {
	for range 10_000 {
		if x.log = append(x.log, x.happened()...); x.crew.run.ended() && x.took == 0 && !x.stopped.IsZero() {
			x.took = time.Since(x.stopped)
		}
		time.Sleep(time.Millisecond)
	}
}

// adapt checks what is different here, and takes it out of the log: children are not killed, but may end.
func (x *crewPlayer) adapt() {
	x.Helper()
	if x.Verdict != "adapt" {
		return
	}
	switch x.Go {
	case "drain running children first, then end", "graceful: wait up to shutdown for running children, then cancel":
	default:
		x.Fatalf("%s: unknown adaption %q", x.ID, x.Go)
	}
	started, stopped := only(kind(x.log, "start"), "start"), only(kind(x.log, "stop"), "stop")
	if len(started) == 0 || len(started) != len(stopped) || !x.crew.run.ended() {
		x.Errorf("children started: %v, ended: %v, the stage has ended: %t", started, stopped, x.crew.run.ended())
	}
	x.log = slices.DeleteFunc(x.log, func(e entry) bool { return e[0] == "stop" })
}

func kind(log []entry, what string) []entry {
	return slices.DeleteFunc(slices.Clone(log), func(e entry) bool { return e[0] != what })
}

func (x *crewPlayer) compareKey(key string, want json.RawMessage) {
	x.Helper()
	all := children(slices.Concat(x.initial, x.log))
	switch key {
	case "events":
		x.wantSequence(key, all)
	case "initial":
		x.wantSequence(key, children(x.initial))
	case "demands":
		log := x.log
		if x.Expect.parts["initial"] == nil {
			log = all
		}
		x.equal(key, want, only(kind(log, "demand"), "demand"))
	case "start_order":
		x.equal(key, want, only(kind(x.log, "start"), "start"))
	case "max_concurrent":
		x.equal(key, want, x.crew.top)
	case "children_after":
		x.equal(key, want, map[string]int{"active": x.crew.active, "specs": 1, "supervisors": 0, "workers": x.crew.active})
		if x.crew.free != len(x.jobs) {
			x.Errorf("%d slots came free of %d", x.crew.free, len(x.jobs))
		}
	case "alive":
		x.equal(key, want, !x.crew.run.ended())
	case "exit": // of the original; here it has ended with what it was subscribed to
		if reason := x.optionalText(want); reason != "killed" && reason != "shutdown" || !errors.Is(x.crew.run.result(), supervisor.ErrShutdown) {
			x.Errorf("ended with %v, want %s", x.crew.run.result(), want)
		}
	case "fast": // as fast as its children may be slow
		x.equal(key, want, x.took > 0 && x.took <= time.Duration(x.number("shutdown_ms"))*time.Millisecond)
	case "given_up":
		x.equal(key, want, append([]any{}, x.crew.gaveUp...))
	case "stop_ms":
		x.equal(key, want, x.took.Milliseconds())
	default:
		x.Fatalf("%s: unknown expectation %q: %s", x.ID, key, want)
	}
}

// playPoison: the budget is the event's own, so the others go on.
func playPoison(s *scene) {
	s.tells("go_expect", "poison event goes to the dead-letter after max deliveries; long continues; others are processed")
	x := newCrewPlayer(s)
	for _, step := range s.Steps {
		x.take(step)
	}
	x.await()
	for _, j := range x.jobs {
		crashes, runs := errors.Is(j.results[len(j.results)-1], errBoom), 1
		if crashes {
			runs = 1 + s.number("max_restarts")
		}
		s.same(fmt.Sprint("runs of ", j.id), runs, len(slices.DeleteFunc(kind(x.log, "stop"), func(e entry) bool { return e[1] != j.id })))
		s.same(fmt.Sprint("given up ", j.id), crashes, slices.Contains(x.crew.gaveUp, j.id))
	}
	if i := slices.IndexFunc(x.jobs, func(j *job) bool { return j.id == "long" }); i >= 0 {
		s.same("the last one to end", "long", kind(x.log, "stop")[len(kind(x.log, "stop"))-1][1])
	}
	if x.crew.run.ended() {
		s.Error("the consumer supervisor ended")
	}
}

// restartRejected: no event would ever be done.
func restartRejected(s *scene) {
	mode, known := modes[s.text("restart")]
	want := fmt.Sprintf(`"bad_opts: %s is not supported"`, s.text("restart"))
	if got := string(s.Expect.parts["error"]); !known || got != want || len(s.Steps) != 1 || s.Steps[0] != "start" {
		s.Fatalf("unknown error %s, or steps %q", got, s.Steps)
	}
	_, err := stages.NewConsumerSupervisor(stages.ConsumerSupervisorConfig[any]{
		Restart: mode, Start: func(context.Context, any, stages.Slot[any]) error { return nil },
	})
	if !errors.Is(err, stages.ErrInvalidOption) {
		s.Errorf("NewConsumerSupervisor = %v, want ErrInvalidOption", err)
	}
}

// boundedByDemand: the limit is the subscription's, and of a manual one exactly what was asked for.
func boundedByDemand(s *scene) {
	s.tells("go_expect", "the limit is a property of the worker pool, default small (e.g. NumCPU), never implied by batch defaults")
	m := pushPattern.FindStringSubmatch(s.Steps[0])
	if m == nil || len(s.Steps) != 1 {
		s.Fatalf("unknown steps %q", s.Steps)
	}
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.crew(stages.ConsumerSupervisorConfig[any]{Restart: stages.Temporary})
	sub := must(c.Subscribe(p, stages.SubscribeOptions[any]{Manual: true, Cancel: stages.Temporary}))
	synctest.Wait()
	sub.Ask(2)
	x := &crewPlayer{player: player{scene: s}, p: p}
	for range x.int(m[1]) {
		x.jobs = append(x.jobs, x.job("ok", m[2]))
	}
	x.pushJobs(len(x.jobs))
	time.Sleep(time.Second)
	if s.happened(); c.top != 2 || c.free != 2 {
		s.Errorf("%d children at once and %d free slots reported, want 2 and 2", c.top, c.free)
	}
}

// In whose words a child was shut down does not matter.
func TestShutdownIsNoFailureOfAChild(t *testing.T) {
	for _, shutdown := range []error{supervisor.ErrShutdown, context.Canceled, fmt.Errorf("stopped: %w", supervisor.ErrShutdown)} {
		play(t, conformance{}, func(s *scene) {
			p := s.producer("p", nil, stages.OutletConfig[any]{})
			c := s.crew(stages.ConsumerSupervisorConfig[any]{Restart: stages.Transient})
			must(c.Subscribe(p, demand(1, 0)))
			synctest.Wait()
			s.push(p, &job{id: 1, results: []error{shutdown}}, &job{id: 2, results: []error{nil}})
			time.Sleep(time.Second)
			s.same("starts", []int{1, 2}, only(kind(s.happened(), "start"), "start"))
			s.same("given up", []any(nil), c.gaveUp)
		})
	}
}
