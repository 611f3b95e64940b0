package stages_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/stages"
)

var consumersPattern = regexp.MustCompile(`^(\d+) x max (\d+)(?: min (\d+))?$`)

// makeConsumers makes those of the setup, or whom the steps name, or one called c. A consumer that is
// released stops in each batch.
func (x *player) makeConsumers() {
	x.Helper()
	var names []string
	var n int
	raw, given := x.Setup["consumers"]
	switch m := consumersPattern.FindStringSubmatch(x.optionalText(raw)); {
	case m != nil:
		for i := range x.int(m[1]) {
			names = append(names, fmt.Sprint("c", i+1))
		}
	case given && json.Unmarshal(raw, &n) == nil:
		for i := range n {
			names = append(names, string(rune('a'+i)))
		}
	case given:
		if err := json.Unmarshal(raw, &names); err != nil {
			x.Fatalf("%s: consumers %s", x.ID, raw)
		}
	case x.Setup["partitions"] != nil && !x.asks:
		for i := range x.number("partitions") {
			names = append(names, strconv.Itoa(i))
		}
	case x.Setup["selectors"] != nil:
		var selectors map[string]string
		if err := json.Unmarshal(x.Setup["selectors"], &selectors); err != nil {
			x.Fatal(err)
		}
		for name := range selectors {
			names = append(names, name)
		}
		names = append(names, "all")
	case x.asks:
		return // who asks is made then
	case x.says(`^\w+ subscribes`):
		return // likewise
	default:
		names = []string{"c"}
	}
	for _, name := range names {
		x.makeConsumer(name)
	}
}

func (x *player) optionalText(raw json.RawMessage) (text string) {
	_ = json.Unmarshal(raw, &text) // anything else is no text
	return text
}

func (x *player) makeConsumer(name string) *consumer {
	x.Helper()
	if c := x.consumers[name]; c != nil {
		return c
	}
	c := x.newConsumer(name, nil)
	if x.says(`^release|block`) {
		c = x.gated(name)
	}
	x.consumers[name] = c
	return c
}

// termsOf are the terms of a subscription: of the step, if it says any, else of the setup.
func (x *player) termsOf(name string, said ...string) stages.SubscribeOptions[any] {
	x.Helper()
	o := stages.SubscribeOptions[any]{Cancel: x.mode(), Partition: x.partitionOf(name)}
	set := func(maxDemand, minDemand string) {
		if maxDemand != "" {
			o.MaxDemand = x.int(maxDemand)
		}
		if minDemand != "" {
			o.MinDemand = new(x.int(minDemand))
		}
	}
	set(x.setupNumber("max_demand"), x.setupNumber("min_demand"))
	set(x.setupNumber(name+"_max"), x.setupNumber(name+"_min"))
	var pair []int
	if json.Unmarshal(x.Setup[name], &pair) == nil && len(pair) == 2 {
		set(strconv.Itoa(pair[0]), strconv.Itoa(pair[1]))
	}
	if m := consumersPattern.FindStringSubmatch(x.optionalText(x.Setup["consumers"])); m != nil {
		set(m[2], m[3])
	}
	for _, each := range said {
		if word, number, ok := strings.Cut(strings.TrimSpace(each), " "); ok && word == "max" {
			o.MaxDemand, o.MinDemand = x.int(number), nil
		} else if ok {
			set("", number)
		}
	}
	var selectors map[string]string
	if json.Unmarshal(x.Setup["selectors"], &selectors) == nil && selectors[name] != "" {
		o.Selector = x.predicate(selectors[name])
	}
	return o
}

// mode is what the end of a subscription means for its consumer.
func (x *player) mode() stages.Mode {
	x.Helper()
	mode, ok := modes[x.optional("cancel")]
	if !ok {
		x.Fatalf("%s: unknown cancel %q", x.ID, x.optional("cancel"))
	}
	return mode
}

func (x *player) setupNumber(key string) string {
	if x.Setup[key] == nil {
		return ""
	}
	return strconv.Itoa(x.number(key))
}

var predicatePattern = regexp.MustCompile(`^(?:multiple of (\d+)|x mod (\d+) == (\d+))$`)

// predicate reads "multiple of 3" and "x mod 2 == 0".
func (x *player) predicate(text string) func(event any) bool {
	x.Helper()
	m := predicatePattern.FindStringSubmatch(text)
	if m == nil {
		x.Fatalf("%s: unknown condition %q", x.ID, text)
	}
	by, rest := x.int(m[1]+m[2]), 0
	if m[3] != "" {
		rest = x.int(m[3])
	}
	return func(event any) bool { return event.(int)%by == rest }
}

// processorNames are those of the setup's processors, as the log calls them.
func (x *player) processorNames() []string {
	x.Helper()
	if names, err := x.inOrder("pc_durations_ms"); err != nil {
		x.Fatal(err)
	} else if len(names) > 0 {
		return names
	}
	if x.Setup["pc_max"] == nil && x.Setup["pc"] == nil {
		return nil
	}
	name := "d"
	for _, raw := range x.Expect.parts {
		if m := regexp.MustCompile(`\["pc","(\w+)"`).FindSubmatch(compacted(raw)); m != nil {
			name = string(m[1])
		}
	}
	return []string{name}
}

// newProcessor makes one that filters, multiplies, or takes its time.
func (x *player) newProcessor(name string) *stages.Processor[any, any] {
	x.Helper()
	f := identity
	switch filter, expand := x.optional("filter"), x.optional("expand"); {
	case filter != "":
		keep := x.predicate(filter)
		f = func(event int) []any {
			if keep(event) {
				return []any{event}
			}
			return nil
		}
	case expand != "" || strings.Contains(string(x.Expect.parts["consumed"]), "doubled"):
		times := 2
		if expand != "" {
			images, ok := strings.CutPrefix(expand, "x -> ")
			times = len(strings.Split(images, ","))
			if !ok || strings.Trim(images, "x, ") != "" {
				x.Fatalf("%s: unknown expand %q", x.ID, expand)
			}
		}
		f = func(event int) []any { return slices.Repeat([]any{event}, times) }
	}
	if x.Setup["pc_durations_ms"] == nil {
		return x.processor(name, f)
	}
	takes := time.Duration(x.inSetup("pc_durations_ms", name)) * time.Millisecond
	d := must(stages.NewProcessor(stages.ProcessorConfig[any, any]{
		Handle: func(_ context.Context, batch, out []any) ([]any, error) {
			x.note("pc", name, append([]any{}, batch...))
			time.Sleep(takes)
			return append(out, batch...), nil
		},
	}))
	x.start(d)
	return d
}

// subscribeFirst subscribes those that no step does.
func (x *player) subscribeFirst() {
	x.Helper()
	explicit := x.says(`subscribe|^start producer`)
	for i, d := range x.d {
		if x.says(`^start producer`) {
			must(d.Subscribe(x.p, x.processorTerms()))
			synctest.Wait()
			continue
		}
		must(x.consumers["c"].Subscribe(d, x.consumerTerms()))
		synctest.Wait()
		must(d.Subscribe(x.p, x.processorTerms()))
		if synctest.Wait(); i == len(x.d)-1 {
			return
		}
	}
	if explicit || len(x.d) > 0 {
		return
	}
	names := make([]string, 0, len(x.consumers))
	for name := range x.consumers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		x.subscribe(name)
	}
}

// processorTerms are those of a processor's subscription, and by one event if the case is about time.
func (x *player) processorTerms() stages.SubscribeOptions[any] {
	if x.Setup["pc_durations_ms"] != nil {
		return demand(1, 0)
	}
	return x.termsOf("pc")
}

func (x *player) consumerTerms() stages.SubscribeOptions[any] {
	if x.Setup["pc_durations_ms"] != nil {
		return demand(1, 0)
	}
	return x.termsOf("c")
}

func (x *player) subscribe(name string, said ...string) {
	x.Helper()
	c := x.makeConsumer(name)
	x.again = x.again || x.subs[name] != nil
	if len(x.d) > 0 {
		x.subs[name] = must(c.Subscribe(x.d[0], x.termsOf(name, said...)))
	} else {
		x.subs[name] = must(c.Subscribe(x.p, x.termsOf(name, said...)))
	}
	synctest.Wait()
}

// manual makes a consumer that asks by hand, if there is none of that name.
func (x *player) manual(name string) *stages.Subscription[any] {
	x.Helper()
	if x.subs[name] == nil {
		o := x.termsOf(name)
		o.Manual, o.MaxDemand, o.MinDemand = true, 0, nil
		x.subs[name] = must(x.makeConsumer(name).Subscribe(x.p, o))
		synctest.Wait()
	}
	return x.subs[name]
}

func (x *player) ask(name string, n int) {
	x.Helper()
	x.manual(name).Ask(n)
	synctest.Wait()
}
