package supervisor

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"
	"time"
)

// call is one of the methods that manage children.
type call struct {
	verb   string
	child  string
	was    string // the child's state before
	after  string // the verb of the call before
	result string // in OTP's words
}

// notes are what a step says beside itself. What is not said here is not understood.
var notes = regexp.MustCompile(` \((?:\d+(?:st|nd|rd|th)|again|running|stopped|kill = [a-z -]+)\)`)

// elsewhere are steps that are taken in a tree of their own.
var elsewhere = regexp.MustCompile(`^(.+) in (?:(?:one|a third|a fresh) tree|another(?: tree)?)$`)

// do takes a step: one clause after the other, which semicolons and commas separate.
func (p *play) do(step string) {
	p.t.Helper()
	text := notes.ReplaceAllString(step, "")
	if m := elsewhere.FindStringSubmatch(text); m != nil {
		p.leave()
		p.world, text = newWorld(p.t), m[1]
	}
	isStart := p.run == nil && strings.HasPrefix(text, "start") && !strings.HasPrefix(text, "start_")
	p.begin()
	for clause := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == ',' }) {
		p.perform(strings.TrimSpace(clause))
	}
	happened := p.take()
	p.events = append(p.events, happened...)
	if isStart {
		happened = slices.Concat(p.initial, happened)
	}
	p.deeds = append(p.deeds, deed{step, happened, p.alive()})
}

type stepClause struct {
	pattern *regexp.Regexp
	do      func(p *play, args []string)
}

func stepOf(pattern string, do func(p *play, args []string)) stepClause {
	return stepClause{regexp.MustCompile(`^(?:` + pattern + `)$`), do}
}

func nothing(*play, []string) {}

// stepClauses are what steps consist of.
var stepClauses = []stepClause{
	stepOf(`start(?: it| (?:the )?supervisor)?|create supervisor without options|read back the period`, nothing),
	stepOf(`for each reason start a fresh supervisor|wait until the supervisor is quiescent|measure`, nothing),
	stepOf(`start with (\S+)`, func(p *play, args []string) { p.combine(args[0]) }),
	stepOf(`stop(?: (?:the )?supervisor)?`, func(p *play, _ []string) { p.stop() }),
	stepOf(`owner (?:crashes|ends|dies|is killed)`, func(p *play, _ []string) {
		p.owned = true
		p.run.stop(errBoom)
		<-p.run.done
	}),
	stepOf(`crash (?:the )?(\w+)(?: once)?|(\w+) crashes`, func(p *play, args []string) { p.end(args[0]+args[1], "boom") }),
	stepOf(`crash (\w+) (\d+) times`, func(p *play, args []string) {
		for range p.int(args[1]) {
			p.end(args[0], "boom")
		}
	}),
	stepOf(`kill (\w+)|(\w+) is killed`, func(p *play, args []string) { p.end(args[0]+args[1], "kill") }),
	stepOf(`(?:end|exit) (\w+)(?: with)? (\w+)|(?:child )?(\w+) ends(?: itself)?(?: with)? (\w+)`, func(p *play, args []string) {
		p.end(args[0]+args[2], strings.TrimSuffix(args[1]+args[3], "ly"))
	}),
	stepOf(`(?:child )?(\w+) ends(?: itself)? with the reason`, func(p *play, args []string) {
		p.end(args[0], decode[string](p.t, p.row["reason"]))
	}),
	stepOf(`crash (\w+) every time it is running|(\w+) always crashes`, func(p *play, args []string) { p.crashAlways(args[0] + args[1]) }),
	stepOf(`inner_max = outer_max = \d+|then \d+`, func(p *play, _ []string) { _ = decode[int](p.t, p.row["inner_max"]) }),
	stepOf(`wait (\d+) ?(ms|s)`, func(p *play, args []string) {
		unit := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second}[args[1]]
		p.pass(time.Duration(p.int(args[0])) * unit)
	}),
	stepOf(`wait g`, func(p *play, _ []string) {
		p.pass(time.Duration(decode[int](p.t, p.row["gap_ms"])) * time.Millisecond)
	}),
	stepOf(`start_child (\w+)(?: again| once more)?(?: \(([a-z ,]+)\))?`, func(p *play, args []string) { p.startChild(args[0], args[1]) }),
	stepOf(`(terminate|restart|delete)_child (\w+)`, func(p *play, args []string) { p.manage(args[0], args[1]) }),
	stepOf(`terminate_child on the significant child`, func(p *play, _ []string) {
		for _, c := range p.setup.Children {
			if c.Significant {
				p.manage("terminate", c.ID)
			}
		}
	}),
	stepOf(`which (\w+)`, func(p *play, args []string) {
		p.called(call{verb: "which", child: args[0], result: p.child(args[0])})
	}),
	stepOf(`which_children`, nothing), // they are expected in the end
	stepOf(`count(?:(?: the|_)? ?children)?`, func(p *play, _ []string) { p.counted = append(p.counted, p.counts()) }),
	stepOf(`see outcome list: one entry per child end`, func(p *play, _ []string) { p.endAsExpected() }),
}

// withAutoShutdown are steps of a tree of their own, with one child.
var withAutoShutdown = regexp.MustCompile(`^(never|any_significant|all_significant): (.+)$`)

func (p *play) perform(clause string) {
	p.t.Helper()
	if m := withAutoShutdown.FindStringSubmatch(clause); m != nil {
		p.leave()
		p.setup.AutoShutdown = m[1]
		p.setup.Children = []childSetup{{ID: "a", Restart: "transient", Significant: m[1] != "never"}}
		p.world, p.refused = newWorld(p.t), nil
		p.begin()
		clause = m[2]
	}
	for _, s := range stepClauses {
		if m := s.pattern.FindStringSubmatch(clause); m != nil {
			s.do(p, m[1:])
			return
		}
	}
	p.t.Fatalf("%s: unknown step %q", p.c.ID, clause)
}

func (p *play) int(text string) int {
	p.t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func (p *play) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (p *play) stop() {
	p.t.Helper()
	if p.run == nil {
		p.t.Fatalf("nothing to stop: %v", p.refused)
	}
	begun := time.Now()
	_ = p.run.end()
	p.took = time.Since(begun)
}

// end has a child end for a reason.
func (p *play) end(name, reason string) {
	p.t.Helper()
	p.crashed = name
	p.world.end(name, reason)
	outcome := "sup_alive"
	if !p.alive() {
		outcome = "sup_exit " + p.state()
	}
	p.outcome = append(p.outcome, outcome)
}

// crashAlways crashes a child whenever it runs, until nobody starts it any more.
func (p *play) crashAlways(name string) {
	p.t.Helper()
	for starts := 0; p.startsOf(name) > starts && p.alive(); {
		if starts = p.startsOf(name); starts > 1000 {
			p.t.Fatalf("%s was started %d times", name, starts)
		}
		p.end(name, "boom")
	}
}

// combine tries the settings that their names, joined by a plus, say.
func (p *play) combine(settings string) {
	p.t.Helper()
	s := setup{AutoShutdown: "any_significant", Children: []childSetup{{ID: "a", Restart: "transient"}}}
	for setting := range strings.SplitSeq(settings, "+") {
		switch setting {
		case "permanent", "transient", "temporary":
			s.Children[0].Restart = setting
		case "never", "any_significant", "all_significant":
			s.AutoShutdown = setting
		case "significant":
			s.Children[0].Significant = true
		default:
			p.t.Fatalf("unknown setting %q", setting)
		}
	}
	result := "ok"
	if _, err := New(p.spec("sup", s)); errors.Is(err, ErrSpec) {
		result = "error bad_combination"
	} else if err != nil {
		result = err.Error()
	}
	p.called(call{verb: "start", result: result})
}

// startChild starts a child, of which a word or two may be said: its restart, or what its init does.
func (p *play) startChild(name, said string) {
	p.t.Helper()
	c := childSetup{ID: name}
	switch said {
	case "permanent", "transient", "temporary":
		c.Restart = said
	default:
		c.Init = said
	}
	was := p.known(name)
	var err error
	if p.dynamic != nil {
		err = p.dynamic.StartReady(p.t.Context(), p.world.child(c))
	} else {
		err = p.sup.StartChild(p.t.Context(), p.world.child(c))
	}
	result := resultOf(err)
	if said == "ignore" && err == nil {
		result = "ok undefined"
		if p.dynamic != nil {
			result = "ignore"
		}
	}
	p.called(call{verb: "start", child: name, was: was, result: result})
}

func (p *play) manage(verb, name string) {
	p.t.Helper()
	was, ctx := p.known(name), p.t.Context()
	var err error
	switch {
	case p.dynamic != nil && verb == "terminate":
		err = p.dynamic.Stop(name)
	case p.dynamic != nil:
		p.t.Fatalf("a dynamic supervisor cannot %s a child", verb)
	case verb == "terminate":
		err = p.sup.StopChild(ctx, name)
	case verb == "restart":
		err = p.sup.RestartChild(ctx, name)
	default:
		err = p.sup.DeleteChild(ctx, name)
	}
	p.called(call{verb: verb, child: name, was: was, result: resultOf(err)})
}

// endAsExpected ends children one after the other as the expected events tell: an end that is followed by a
// start was a crash.
func (p *play) endAsExpected() {
	p.t.Helper()
	events := decode[[]caseEvent](p.t, p.expect["events"])
	if len(p.setup.Children) == 0 {
		p.leave()
		p.setup.Children = p.childrenOf(events)
		p.begin()
	}
	for i, e := range events {
		kind, name := p.parts(e)
		if kind != "exit" {
			continue
		}
		reason := "normal"
		if startsAfter(events, i, name) || strings.Contains(p.c.Title, "temporary") && strings.Contains(p.c.Title, "crash") {
			reason = "boom"
		}
		p.end(name, reason)
	}
}

// parts are what happened in an event, and to whom.
func (p *play) parts(e caseEvent) (kind, name string) {
	p.t.Helper()
	parts := decode[[]string](p.t, []byte(e))
	if len(parts) < 2 {
		p.t.Fatalf("%s is no event", e)
	}
	return parts[0], parts[1]
}

// startsAfter reports whether the i-th event, the end of a child, is followed by its start.
func startsAfter(events []caseEvent, i int, name string) bool {
	return i+1 < len(events) && events[i+1] == event("start", name)
}

// childrenOf makes the children that the events tell of. Who ends is significant, unless nothing is, or
// nothing came of it; who is only stopped is not. If the supervisor waits for another significant one in the
// end, there is one.
func (p *play) childrenOf(events []caseEvent) (children []childSetup) {
	p.t.Helper()
	outcomes := decode[[]json.RawMessage](p.t, p.expect["outcome"])
	ends, alive := 0, false
	for i, e := range events {
		kind, name := p.parts(e)
		c := childSetup{ID: name}
		if kind == "exit" {
			if ends == len(outcomes) {
				p.t.Fatalf("%d outcomes of more ends than that", ends)
			}
			again := startsAfter(events, i, c.ID)
			alive = words(p.t, outcomes[ends]) == "sup_alive" && !again
			c.Restart = "transient"
			if strings.Contains(p.c.Title, "temporary") {
				c.Restart = "temporary"
			}
			c.Significant = p.setup.AutoShutdown == "all_significant" || p.setup.AutoShutdown == "any_significant" && !alive
			ends++
		}
		if !slices.ContainsFunc(children, func(k childSetup) bool { return k.ID == c.ID }) {
			children = append(children, c)
		}
	}
	if i := slices.IndexFunc(children, func(c childSetup) bool { return c.Restart == "" }); i >= 0 {
		slices.Reverse(children[i:]) // who is stopped last was started first
	}
	if alive && p.setup.AutoShutdown == "all_significant" {
		children = append(children, childSetup{ID: "another", Restart: "transient", Significant: true})
	}
	return children
}

func (p *play) called(c call) {
	if n := len(p.calls); n > 0 {
		c.after = p.calls[n-1].verb
	}
	p.calls = append(p.calls, c)
}

// known is the state of a child that may be unknown.
func (p *play) known(name string) string {
	switch state := p.child(name); state {
	case "removed":
		return "unknown"
	case "undefined":
		return "stopped"
	default:
		return state
	}
}

// resultOf is a result in OTP's words.
func resultOf(err error) string {
	for _, known := range []struct {
		err  error
		name string
	}{
		{ErrAlreadyPresent, "already_present"},
		{ErrAlreadyStarted, "already_started"},
		{ErrRunning, "running"},
		{ErrRestarting, "restarting"},
		{ErrNotFound, "not_found"},
		{ErrMaxChildren, "max_children"},
	} {
		if errors.Is(err, known.err) {
			return "error " + known.name
		}
	}
	if failed, ok := errors.AsType[*StartError](err); ok {
		return "error " + failed.Err.Error()
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}

func (p *play) counts() map[string]int {
	counts := map[string]int{"specs": 0, "active": 0, "workers": 0, "supervisors": 0}
	for _, n := range p.tree().Children {
		counts["specs"]++
		if n.State == StateRunning {
			counts["active"]++
		}
		if n.Kind == KindSupervisor || n.Kind == KindDynamic {
			counts["supervisors"]++
		} else {
			counts["workers"]++
		}
	}
	return counts
}
