package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An expectation compares what a case expects under keys of a kind with what has happened.
type expectation struct {
	key     *regexp.Regexp
	compare func(p *play, key []string, want json.RawMessage)
}

func expectationOf(key string, compare func(p *play, key []string, want json.RawMessage)) expectation {
	return expectation{regexp.MustCompile(`^(?:` + key + `)$`), compare}
}

var expectations = []expectation{
	expectationOf(`legend|note|elixir\w*`, func(*play, []string, json.RawMessage) {}),
	expectationOf(`events`, func(p *play, _ []string, want json.RawMessage) { p.compareEvents(decode[[]caseEvent](p.t, want)) }),
	expectationOf(`starts`, func(p *play, _ []string, want json.RawMessage) { p.compareStarts(p.crashed, want) }),
	expectationOf(`(\w+)_starts`, func(p *play, key []string, want json.RawMessage) { p.compareStarts(key[1], want) }),
	expectationOf(`sup_exit|sup|outer|supervisor|exit`, func(p *play, _ []string, want json.RawMessage) {
		p.compareState(decode[string](p.t, want))
	}),
	expectationOf(`alive|sup(?:ervisor)?_alive`, func(p *play, _ []string, want json.RawMessage) {
		p.equal("alive", decode[bool](p.t, want), p.alive())
	}),
	expectationOf(`after_(\w+)`, func(p *play, key []string, want json.RawMessage) { p.compareAfter(key[1], want) }),
	expectationOf(`children|left`, (*play).compareChildren),
	expectationOf(`counts?`, func(p *play, _ []string, want json.RawMessage) { p.compareCounts(want) }),
	expectationOf(`started|stopped`, func(p *play, key []string, want json.RawMessage) {
		kind := map[string]string{"started": "start", "stopped": "terminated"}[key[0]]
		p.equal(key[0], decode[[]string](p.t, want), p.of(kind))
	}),
	expectationOf(`start_error`, func(p *play, _ []string, want json.RawMessage) { p.compareRefusal(want) }),
	expectationOf(`sibling`, func(p *play, _ []string, want json.RawMessage) {
		var events []caseEvent
		for _, e := range slices.Concat(p.initial, p.events) {
			if strings.Contains(string(e), `"sib`) {
				events = append(events, e)
			}
		}
		p.equal("sibling", decode[[]caseEvent](p.t, want), events)
	}),
	expectationOf(`cleanup_completed|cleaned`, func(p *play, _ []string, want json.RawMessage) { p.compareCleaned(want) }),
	expectationOf(`terminate_callbacks`, func(p *play, _ []string, want json.RawMessage) {
		if p.c.Verdict == "avoid" { // there is no flag that one can forget: each has its clean-up
			want, _ = json.Marshal(p.reversed()) //nolint:errchkjson // strings
		}
		p.equal("terminate_callbacks", decode[[]string](p.t, want), p.of("terminated"))
	}),
	expectationOf(`total_ms_(between|below|at_least|at_most)`, func(p *play, key []string, want json.RawMessage) { p.compareTime(key[1], want) }),
	expectationOf(`outcome`, func(p *play, _ []string, want json.RawMessage) {
		p.equal("outcome", p.wordsOfEach(want), p.outcome)
		if p.run != nil && p.run.ended() && errors.Is(p.run.err, ErrIntensity) {
			p.t.Errorf("Run = %v, want an automatic shutdown", p.run.err)
		}
	}),
	expectationOf(`results?`, func(p *play, key []string, want json.RawMessage) {
		var got []string
		for _, c := range p.calls {
			got = append(got, c.result)
		}
		if key[0] == "result" && len(got) > 0 {
			p.equal("result", words(p.t, want), got[len(got)-1])
			return
		}
		all := p.wordsOfEach(want)
		for key := range p.expect {
			if strings.HasPrefix(key, "after_") && len(got) == len(all)+1 { // which says what came of the last call
				got = got[:len(all)]
			}
		}
		p.equal("results", all, got)
	}),
	expectationOf(`max_restarts|max_seconds|seconds_unit|period_seconds|(worker|supervisor)_shutdown(_ms)?|restart|strategy|auto_shutdown`,
		func(p *play, key []string, want json.RawMessage) {
			if key[0] == "restart" && len(p.calls) > 0 {
				p.compareCall("restart", "", want)
				return
			}
			p.equal(key[0], words(p.t, want), p.defaults()[key[0]])
		}),
	expectationOf(`crash_(\w+)`, func(p *play, key []string, want json.RawMessage) {
		p.equal(key[0], decode[[]caseEvent](p.t, want), p.deed("crash "+key[1]).events)
	}),
	expectationOf(`(start|stop)`, func(p *play, key []string, want json.RawMessage) { // of phases: a list of events
		var events []caseEvent
		if json.Unmarshal(want, &events) != nil || len(events) > 0 && events[0][0] != '[' {
			p.compareCall(key[1], "", want)
			return
		}
		p.equal(key[0], events, p.deed(key[1]).events)
	}),
	expectationOf(`(start|terminate|restart|delete|which)(?:_child)?(?:_(\w+))?`, func(p *play, key []string, want json.RawMessage) {
		p.compareCall(key[1], key[2], want)
	}),
}

// compare compares all that the case expects.
func (p *play) compare() {
	p.t.Helper()
	for _, e := range p.c.Steps {
		if !slices.ContainsFunc(p.deeds, func(d deed) bool { return d.step == e }) {
			p.t.Fatalf("%q was not done", e)
		}
	}
	for key, want := range p.expect {
		p.compareKey(key, want)
	}
}

func (p *play) compareKey(key string, want json.RawMessage) {
	p.t.Helper()
	if p.isChild(key) {
		p.compareChild(key, want)
		return
	}
	for _, e := range expectations {
		if m := e.key.FindStringSubmatch(key); m != nil {
			e.compare(p, m, want)
			return
		}
	}
	p.t.Fatalf("%s: unknown expectation %q: %s", p.c.ID, key, want)
}

func (p *play) equal(what string, want, got any) {
	p.t.Helper()
	if fmt.Sprint(want) != fmt.Sprint(got) {
		p.t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
	}
}

func (p *play) wordsOfEach(raw json.RawMessage) (all []string) {
	p.t.Helper()
	for _, each := range decode[[]json.RawMessage](p.t, raw) {
		all = append(all, words(p.t, each))
	}
	return all
}

// compareEvents compares the log of the whole case. It begins with the start of the tree if that is a step,
// or if it says so; what children are started with before anything happens to them may be left out too.
func (p *play) compareEvents(want []caseEvent) {
	p.t.Helper()
	starts := strings.HasPrefix(p.c.Steps[0], "start") && !strings.HasPrefix(p.c.Steps[0], "start_")
	killed := slices.ContainsFunc(p.c.Steps, func(s string) bool { return strings.Contains(s, "kill") })
	if starts || !killed && len(p.initial) > 0 && isPrefix(p.initial, want) {
		p.equal("events", want, slices.Concat(p.initial, p.events))
		return
	}
	events := p.events
	for _, d := range p.deeds {
		if !strings.HasPrefix(d.step, "start_child") || isPrefix(d.events, want) {
			break
		}
		events = events[len(d.events):]
	}
	p.equal("events", want, events)
}

func isPrefix(prefix, events []caseEvent) bool {
	return len(prefix) <= len(events) && slices.Equal(prefix, events[:len(prefix)])
}

// of returns who is in the events of a kind.
func (p *play) of(kind string) []string {
	p.t.Helper()
	names := []string{}
	for _, e := range slices.Concat(p.initial, p.events) {
		if what, name := p.parts(e); what == kind {
			names = append(names, name)
		}
	}
	return names
}

// reversed are the names of all children, from the last one on.
func (p *play) reversed() (names []string) {
	for _, c := range slices.Backward(p.setup.Children) {
		names = append(names, c.ID)
	}
	return names
}

func (p *play) deed(beginning string) deed {
	p.t.Helper()
	i := slices.IndexFunc(p.deeds, func(d deed) bool { return strings.HasPrefix(d.step, beginning) })
	if i < 0 {
		p.t.Fatalf("%s: no step begins with %q", p.c.ID, beginning)
	}
	return p.deeds[i]
}

func (p *play) compareStarts(name string, want json.RawMessage) {
	p.t.Helper()
	var of map[string]int
	if json.Unmarshal(want, &of) != nil {
		of = map[string]int{name: decode[int](p.t, want)}
	}
	for name, want := range of {
		p.equal("starts of "+name, want, p.startsOf(name))
	}
}

// compareState compares what became of the supervisor. OTP's reason is shutdown for all that it decides
// itself; one that ends with its owner has nothing to tell.
func (p *play) compareState(want string) {
	p.t.Helper()
	want = strings.TrimPrefix(strings.TrimPrefix(want, "supervisor "), "exit ")
	if want == "gives_up" || want == "gives up" {
		want = "shutdown"
	}
	if p.owned {
		want = "normal"
	}
	p.equal("the supervisor", want, p.state())
	if want == "shutdown" && p.setup.AutoShutdown == "" && !errors.Is(p.run.err, ErrIntensity) {
		p.t.Errorf("Run = %v, want an error that is %v", p.run.err, ErrIntensity)
	}
}

var ordinals = []string{"first", "second", "third", "fourth", "fifth"}

// compareAfter compares what there was after a step: whether the supervisor was alive, or what happened.
func (p *play) compareAfter(which string, want json.RawMessage) {
	p.t.Helper()
	i := slices.Index(ordinals, which)
	if i < 0 {
		word := which[strings.LastIndex(which, "_")+1:]
		i = slices.IndexFunc(p.deeds, func(d deed) bool { return strings.Contains(d.step, word) })
	}
	if i < 0 || i >= len(p.deeds) {
		p.t.Fatalf("%s: there is no step %q", p.c.ID, which)
	}
	var alive bool
	var state string
	switch {
	case json.Unmarshal(want, &alive) == nil:
		p.equal("alive after "+which, alive, p.deeds[i].alive)
	case json.Unmarshal(want, &state) == nil && i == len(p.deeds)-1:
		p.compareState(state)
	case json.Unmarshal(want, &state) == nil:
		p.equal("alive after "+which, strings.Contains(state, "alive"), p.deeds[i].alive)
	default:
		p.equal("after "+which, decode[[]caseEvent](p.t, want), p.deeds[i].events)
	}
}

// compareCleaned compares who cleaned up, in order if the supervisor has one. A goroutine cannot be killed: a
// child that takes too long is abandoned, reported, and not waited for.
func (p *play) compareCleaned(want json.RawMessage) {
	p.t.Helper()
	names := strings.Fields(words(p.t, want))
	got := p.cleanedSoFar()
	if p.dynamic != nil {
		slices.Sort(names)
		slices.Sort(got)
	}
	p.equal("cleaned up", names, got)
	late, abandoned := false, 0
	for _, c := range p.setup.Children {
		if slices.Contains(got, c.ID) {
			continue
		}
		abandoned++
		late = late || c.Shutdown != "brutal_kill"
	}
	p.equal("abandoned", abandoned, p.tree().Abandoned)
	if errors.Is(p.run.err, ErrStopTimeout) != late {
		p.t.Errorf("Run = %v, want it to be %v: %t", p.run.err, ErrStopTimeout, late)
	}
}

func (p *play) compareTime(bound string, want json.RawMessage) {
	p.t.Helper()
	took := int(p.took / time.Millisecond)
	var ok bool
	switch bound {
	case "between":
		b := decode[[2]int](p.t, want)
		ok = took >= b[0] && took <= b[1]
	case "below":
		ok = took < decode[int](p.t, want)
	case "at_least":
		ok = took >= decode[int](p.t, want)
	case "at_most":
		ok = took <= decode[int](p.t, want)
	}
	if !ok {
		p.t.Errorf("the stop took %d ms, want it %s %s", took, bound, want)
	}
}

// defaults are those of the setup, in OTP's words.
func (p *play) defaults() map[string]string {
	spec := p.spec("sup", p.setup).withDefaults()
	worker, nested := Child{}, Child{Part: &Supervisor{}}
	supervisorShutdown := nested.stopTimeout().String()
	if nested.stopTimeout() == Forever {
		supervisorShutdown = "infinity"
	}
	return map[string]string{
		"max_restarts": strconv.Itoa(*spec.MaxRestarts), "max_seconds": fmt.Sprint(spec.Within.Seconds()),
		"period_seconds": fmt.Sprint(spec.Within.Seconds()), "seconds_unit": "seconds",
		"worker_shutdown_ms": strconv.FormatInt(worker.stopTimeout().Milliseconds(), 10), "supervisor_shutdown": supervisorShutdown,
		"restart": worker.Restart.String(), "strategy": spec.Strategy.String(), "auto_shutdown": spec.AutoShutdown.String(),
	}
}

// compareCall compares the result of a call. Which one it is, its verb says and what follows it: how its
// child was, the call before, or the child's name.
func (p *play) compareCall(verb, which string, want json.RawMessage) {
	p.t.Helper()
	was := map[string]string{"present": "stopped", "undefined": "stopped", "missing": "unknown"}[which]
	if was == "" {
		was = which
	}
	after, isAfter := strings.CutPrefix(which, "after_")
	for _, c := range p.calls {
		if c.verb != verb || which != "" && c.was != was && c.child != which && (!isAfter || c.after != after) {
			continue
		}
		p.equal(verb+" "+which, words(p.t, want), c.result)
		return
	}
	p.t.Fatalf("%s: no call is %q %q", p.c.ID, verb, which)
}
