package stages_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing/synctest"
)

// remarks are what a step says beside itself.
var remarks = regexp.MustCompile(` (?:-> buffered|\(buffered\))`)

type stepClause struct {
	pattern *regexp.Regexp
	do      func(x *player, args []string)
}

func stepOf(pattern string, do func(x *player, args []string)) stepClause {
	return stepClause{regexp.MustCompile(`^(?:` + pattern + `)$`), do}
}

// wholeSteps have a comma that separates nothing.
var wholeSteps = []stepClause{
	stepOf(`consumer first, then pc to producer`, func(*player, []string) {}),
	stepOf(`subscribe (\w+(?:, \w+)+)`, func(x *player, args []string) {
		for name := range strings.SplitSeq(args[0], ", ") {
			x.subscribe(name)
		}
	}),
}

// idle are clauses in which nothing happens.
var idle = regexp.MustCompile(
	`^(?:run|record|start(?: producer\+pc)?|consumer block(?:s|ed) in (?:each|its first|first) batch(?: until released)?)$`)

// stepClauses are what steps consist of, separated by semicolons and commas.
var stepClauses = []stepClause{
	stepOf(`release (?:batch \d+|one)`, func(x *player, _ []string) { x.released("c", 1) }),
	stepOf(`release (\d+) batches`, func(x *player, args []string) { x.released("c", x.int(args[0])) }),
	stepOf(`release (\w+)`, func(x *player, args []string) { x.released(args[0], 1) }),
	stepOf(`push (\d+) events without consumer progress and see how many leave the buffer`, func(x *player, args []string) {
		n := x.int(args[0])
		x.push(x.p, numbers(1, n)...)
		x.measured = n - x.p.Buffered()
	}),
	stepOf(`(?:push|dispatch) (\d+) pages`, func(x *player, args []string) { x.emit(pages[:x.int(args[0])]...) }),
	stepOf(`push (\d+)`, func(x *player, args []string) { x.emit(x.meant(x.int(args[0]))...) }),
	stepOf(`(?:call |cast |message )?(?:push|dispatch) (\w+(?:(?: |\.\.)\w+)*)`, func(x *player, args []string) { x.emit(x.listed(args[0])...) }),
	stepOf(`count`, func(x *player, _ []string) { x.counts = append(x.counts, x.p.Buffered()) }),
	stepOf(`(?:a?sync_)?subscribe(?: consumer)?( max \d+)?( min \d+)?`, func(x *player, args []string) { x.subscribe("c", args...) }),
	stepOf(`(\w+) subscribes(?: \(demand (\d+)\))?`, func(x *player, args []string) {
		if x.subject = args[0]; x.asks {
			x.manual(args[0])
			return
		}
		x.subscribe(args[0])
		if o := x.termsOf(args[0]); args[1] != "" && o.MaxDemand != x.int(args[1]) {
			x.Fatalf("the demand of %s is %d", args[0], o.MaxDemand)
		}
	}),
	stepOf(`(\w+) subscribes and asks (\d+)`, func(x *player, args []string) {
		x.subject = args[0]
		x.ask(args[0], x.int(args[1]))
	}),
	stepOf(`(?:a?sync_)?resubscribe reason (\w+)( max \d+)?( min \d+)?`, func(x *player, args []string) {
		x.why = []any{"cancel", args[0]}
		first := x.subs["c"]
		x.subs["c"] = must(first.Resubscribe(errors.New(args[0]), x.termsOf("c", args[1:]...)))
		x.again = first != x.subs["c"]
	}),
	stepOf(`kill (\w+)|(\w+) dies|dies`, func(x *player, args []string) {
		if name := args[0] + args[1]; name != "" {
			x.subject = name
		}
		x.named(x.subject).run.stop()
		delete(x.consumers, x.subject)
		delete(x.subs, x.subject)
	}),
	stepOf(`(\w+) (?:cancels|leaves)|cancel (\w+)`, func(x *player, args []string) {
		x.subject, x.why = args[0]+args[1], []any{"cancel", "normal"}
		x.named(x.subject)
		x.subs[x.subject].Cancel(nil)
		delete(x.subs, x.subject)
	}),
	stepOf(`each asks (\d+)`, func(x *player, args []string) {
		names := make([]string, 0, len(x.consumers))
		for name := range x.consumers {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			x.manual(name)
		}
		for _, name := range names {
			x.ask(name, x.int(args[0]))
		}
	}),
	stepOf(`(\w+) asks (\d+)(?: again)?|([a-z]) \+?(\d+)`, func(x *player, args []string) {
		x.subject = args[0] + args[2]
		x.ask(x.subject, x.int(args[1]+args[3]))
	}),
	stepOf(`asks? (\d+)(?: again)?`, func(x *player, args []string) {
		if x.subject == "" {
			x.subject = "a"
		}
		x.ask(x.subject, x.int(args[0]))
	}),
	stepOf(`forward`, func(x *player, _ []string) { x.p.Resume() }),
	stepOf(`async_info`, func(x *player, _ []string) {
		name := strings.Join(append([]string{"after"}, strings.Fields(strings.Trim(fmt.Sprint(x.pushed), "[]"))...), "_")
		if err := x.p.AfterBuffer(func() { x.note("pinfo", name) }); err != nil {
			x.Error(err)
		}
	}),
}

// named is a consumer that there is.
func (x *player) named(name string) *consumer {
	x.Helper()
	c := x.consumers[name]
	if c == nil {
		x.Fatalf("%s: there is no consumer %q", x.ID, name)
	}
	return c
}

// do takes a step, clause by clause, each of which is a phase.
func (x *player) do(i int, step string) {
	x.Helper()
	text := remarks.ReplaceAllString(step, "")
	for _, s := range wholeSteps {
		if m := s.pattern.FindStringSubmatch(text); m != nil {
			s.do(x, append(m[1:], ""))
			x.phase(i, text)
			return
		}
	}
	for clause := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == ',' }) {
		clause = strings.TrimSpace(clause)
		if idle.MatchString(clause) {
			x.phase(i, "")
			continue
		}
		x.perform(clause)
		if strings.HasPrefix(clause, "asks ") {
			clause = x.subject + " " + clause
		}
		x.phase(i, clause)
	}
}

func (x *player) perform(clause string) {
	x.Helper()
	for _, s := range stepClauses {
		if m := s.pattern.FindStringSubmatch(clause); m != nil {
			s.do(x, append(m[1:], ""))
			return
		}
	}
	x.Fatalf("%s: unknown step %q", x.ID, clause)
}

// phase keeps what has happened since the phase before.
func (x *player) phase(step int, clause string) {
	x.Helper()
	log := x.happened()
	for _, e := range log {
		if e[0] == "demand" {
			x.asked += e[2].(int)
		}
	}
	buffered := x.p.Buffered()
	if len(x.d) > 0 {
		buffered = x.d[0].Buffered()
	}
	x.phases = append(x.phases, phase{step, stems(clause), log, buffered, x.asked - x.emitted})
}

// released lets a consumer finish batches.
func (x *player) released(name string, batches int) {
	x.Helper()
	c := x.named(name)
	for range batches {
		synctest.Wait()
		select {
		case c.gate <- struct{}{}:
		default:
			x.Fatalf("%s: %s is in no batch", x.ID, name)
		}
	}
	synctest.Wait()
}

// pages are the book's.
var pages = []any{"google.com", "facebook.com", "apple.com", "netflix.com", "amazon.com"}

// emit pushes events. While demand is only collected, that waits.
func (x *player) emit(events ...any) {
	x.Helper()
	x.pushed = append(x.pushed, events...)
	if x.optional("demand") == "accumulate" {
		x.scene.all.Go(func() { _ = x.p.Emit(x.Context(), events) })
		return
	}
	x.push(x.p, events...)
}

// meant are the events of a push of n. Of a dispatcher, and after other numbers, it is the event n. Else it
// says how many: numbers from 1 on, or after words those that the case expects and that have not been pushed.
func (x *player) meant(n int) []any {
	if x.kind != "stage" && x.kind != "pc" {
		return []any{n}
	}
	if len(x.pushed) == 0 {
		return numbers(1, n)
	}
	if last, ok := x.pushed[len(x.pushed)-1].(int); ok {
		if slices.Contains(x.pushed, any(n)) {
			return numbers(last+1, last+n)
		}
		return []any{n}
	}
	words := slices.DeleteFunc(x.expected(), func(event any) bool {
		_, isWord := event.(string)
		return !isWord || slices.Contains(x.pushed, event)
	})
	if len(words) < n {
		x.Fatalf("%s: unknown events: %d more", x.ID, n)
	}
	return words[:n]
}

var rangePattern = regexp.MustCompile(`^(-?\w+)\.\.(\w+)$`)

// listed reads "1 3 5", "1..9" and "a..e".
func (x *player) listed(text string) (events []any) {
	x.Helper()
	for word := range strings.FieldsSeq(text) {
		m := rangePattern.FindStringSubmatch(word)
		switch {
		case m != nil && len(m[1]) == 1 && len(m[2]) == 1 && m[1] >= "a":
			for letter := m[1][0]; letter <= m[2][0]; letter++ {
				events = append(events, string(letter))
			}
		case m != nil:
			events = append(events, numbers(x.int(m[1]), x.int(m[2]))...)
		case strings.Trim(word, "0123456789") == "":
			events = append(events, x.int(word))
		default:
			events = append(events, word)
		}
	}
	return events
}

// stems are the words of a clause or of the name of an expectation, without their endings.
func stems(text string) (all []string) {
	for _, word := range regexp.MustCompile(`[a-z]+|\d+`).FindAllString(strings.ToLower(text), -1) {
		for _, ending := range []string{"ing", "ed", "es", "s"} {
			if short, ok := strings.CutSuffix(word, ending); ok && len(short) > 2 {
				word = short
				break
			}
		}
		all = append(all, strings.TrimSuffix(word, "e"))
	}
	return all
}
