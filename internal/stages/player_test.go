package stages_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/stages"
)

// A player plays a case by its words: the stages of its setup, its steps one after the other, and the log of
// what the stages do meanwhile. A word that it does not know fails the case.
type player struct {
	*scene
	kind      string // of dispatcher, by the first word of the id: bc, pd; else by demand
	p         *stages.Producer[any]
	producing *run
	consumers map[string]*consumer
	subs      map[string]*stages.Subscription[any]
	asks      bool // consumers ask by hand
	d         []*stages.Processor[any, any]
	why       []any // what ends the subscription that ends now
	subject   string
	pushed    []any
	asked     int // of the source
	emitted   int // by it
	discards  []int
	counts    []int
	measured  int  // the demand that was outstanding in the end
	again     bool // there was another subscription after the first
	phases    []phase
}

// phase is what happened in a clause of a step. The first one is before all steps.
type phase struct {
	step        int
	words       []string
	log         []entry
	buffered    int
	outstanding int
}

// playStages plays a case.
func playStages(s *scene) {
	x := &player{
		scene: s, consumers: map[string]*consumer{}, subs: map[string]*stages.Subscription[any]{}, why: []any{"down", "killed"},
	}
	x.kind, _, _ = strings.Cut(s.ID, "-")
	x.describe()
	x.phase(-1, "")
	for i, step := range s.Steps {
		x.do(i, step)
	}
	if len(s.Setup["pc_durations_ms"]) > 0 {
		s.pass(10 * time.Second) // for what takes time
		log := s.happened()
		last := &x.phases[len(x.phases)-1]
		last.log = append(last.log, log...)
	}
	for _, key := range s.Expect.keys {
		x.compare(key, s.Expect.parts[key])
	}
}

// stageSetup are the words of a setup that the player reads.
var stageSetup = regexp.MustCompile(`^(?:max_demand|min_demand|producer|consumers|buffer_size|buffer_keep|demand|source|cancel|` +
	`(?:pc|c\d?)_(?:max|min)|pc|c|filter|expand|pc_durations_ms|asks|events|partitions|selectors)$`)

// describe makes the stages of the setup.
func (x *player) describe() {
	x.Helper()
	for key := range x.Setup {
		if !stageSetup.MatchString(key) {
			x.Fatalf("%s: unknown setup %q", x.ID, key)
		}
	}
	x.asks = x.Setup["asks"] != nil || x.says(`\basks? \+?\d`) || x.says(`^\w+ \d+, \w+ \d+`)
	x.p = x.idleProducer("p", x.source(), x.outlet())
	x.producing = x.start(x.p)
	for _, name := range x.processorNames() {
		x.d = append(x.d, x.newProcessor(name))
	}
	x.makeConsumers()
	if !x.asks {
		x.subscribeFirst()
		return
	}
	asks, err := x.inOrder("asks")
	if err != nil {
		x.Fatal(err)
	}
	for _, name := range asks {
		x.ask(name, x.inSetup("asks", name))
	}
	if m := regexp.MustCompile(`with (\w+) (\d+) \+ (\w+) (\d+)`).FindStringSubmatch(x.Title); m != nil && x.Setup["asks"] == nil {
		x.ask(m[1], x.int(m[2]))
		x.ask(m[3], x.int(m[4]))
	}
}

// inOrder returns the keys of an object of the setup.
func (x *player) inOrder(key string) ([]string, error) {
	if x.Setup[key] == nil {
		return nil, nil
	}
	return keysOf(x.Setup[key])
}

func (x *player) inSetup(key, name string) (n int) {
	x.Helper()
	var all map[string]int
	if err := json.Unmarshal(x.Setup[key], &all); err != nil {
		x.Fatal(err)
	}
	return all[name]
}

// says reports whether a step has what the pattern says.
func (x *player) says(pattern string) bool {
	return slices.ContainsFunc(x.Steps, regexp.MustCompile(pattern).MatchString)
}

func (x *player) int(text string) int {
	x.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		x.Fatal(err)
	}
	return n
}

var sourceWords = regexp.MustCompile(`^(?:emits (?:exactly the demand until )?)?(\d+)(?: (?:events|numbers|on first demand(?:, then nothing)?))?$`)

// source is what the producer has for what it is asked for, from 0 on. One that the case says nothing of is
// a counter if it expects numbers that nobody pushes.
func (x *player) source() func(int) []any {
	x.Helper()
	limit, atOnce := 0, false
	switch producer, source := x.optional("producer"), x.optional("source"); {
	case x.Setup["events"] != nil:
		limit = x.number("events")
	case source != "":
		m := rangePattern.FindStringSubmatch(source)
		if m == nil || m[1] != "0" {
			x.Fatalf("%s: unknown source %q", x.ID, source)
		}
		limit = x.int(m[2]) + 1
	case strings.HasSuffix(producer, "counter"):
		limit = 10_000
	case producer != "":
		m := sourceWords.FindStringSubmatch(producer)
		if m == nil {
			x.Fatalf("%s: unknown producer %q", x.ID, producer)
		}
		limit, atOnce = x.int(m[1]), strings.HasPrefix(producer, "emits ") && !strings.Contains(producer, "exactly")
	case x.expectsCounter():
		limit = 10_000
	default:
		return nil
	}
	next := upTo(limit)
	return func(n int) []any {
		if atOnce {
			n = limit
		}
		events := next(n)
		x.emitted += len(events)
		return events
	}
}

// expectsCounter reports whether the case expects a 0, without pushing one.
func (x *player) expectsCounter() bool {
	return x.says(`^each asks`) || !x.says(`^(?:call )?(?:push|dispatch) (?:\d|q|pages)`) && slices.Contains(x.expected(), any(0.0)) ||
		!x.says(`push|dispatch`) && (x.Setup["pc"] != nil || x.Setup["pc_max"] != nil)
}

// expected are the events in the batches that the case expects, in their order.
func (x *player) expected() (events []any) {
	var find func(v any)
	find = func(v any) {
		list, ok := v.([]any)
		if !ok {
			return
		}
		if len(list) == 3 && (list[0] == "batch" || list[0] == "pc") {
			if batch, ok := list[2].([]any); ok {
				events = append(events, batch...)
			}
			return
		}
		for _, each := range list {
			find(each)
		}
	}
	for _, key := range x.Expect.keys {
		var v any
		if err := json.Unmarshal(x.Expect.parts[key], &v); err != nil {
			x.Fatal(err)
		}
		find(v)
	}
	return events
}

func (x *player) optional(key string) string {
	if x.Setup[key] == nil {
		return ""
	}
	return x.text(key)
}

// outlet is the producer's, with the dispatcher of the case.
func (x *player) outlet() (c stages.OutletConfig[any]) {
	x.Helper()
	switch x.kind {
	case "bc":
		c = broadcast()
	case "pd":
		c.Dispatcher = func() stages.Dispatcher[any] { return must(stages.NewPartitionDispatcher(x.partitions())) }
	}
	if raw, ok := x.Setup["buffer_size"]; ok {
		c.Buffer = new(stages.Unlimited)
		if string(raw) != `"infinity"` {
			c.Buffer = new(x.number("buffer_size"))
		}
	}
	keep, ok := map[string]stages.Keep{"": stages.KeepLast, "last": stages.KeepLast, "first": stages.KeepFirst}[x.optional("buffer_keep")]
	demand := x.optional("demand")
	if !ok || demand != "" && demand != "accumulate" {
		x.Fatalf("%s: unknown setup %s", x.ID, x.Setup)
	}
	c.Keep, c.Paused = keep, demand == "accumulate"
	c.OnDiscard = func(n int) bool { x.discards = append(x.discards, n); return false }
	c.OnLeave = func(error) {
		if x.kind != "stage" {
			x.note("pcancel", x.why)
			return
		}
		x.note("pcancel", "p", x.why)
	}
	return c
}

// partitions are those of the setup, by remainder; without one they are even and odd.
func (x *player) partitions() stages.PartitionConfig[any] {
	n := 2
	if x.Setup["partitions"] != nil {
		n = x.number("partitions")
	}
	return stages.PartitionConfig[any]{Partitions: n, Hash: func(event any) (any, int, bool) { return event, event.(int) % n, true }}
}

// partitionOf is that of a consumer, by its name: even, odd, or a number.
func (x *player) partitionOf(name string) int {
	x.Helper()
	if x.kind != "pd" {
		return 0
	}
	switch strings.TrimRight(name, "0123456789") {
	case "even":
		return 0
	case "odd":
		return 1
	}
	return x.int(name)
}
