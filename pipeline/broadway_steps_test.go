package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// item is what is pushed: a number or a word, which says what is to happen to it.
type item struct {
	value    any
	ref      string // of its acker
	other    bool   // of another acknowledger
	flush    bool
	fails    bool
	takes    time.Duration
	routed   bool
	to       string // the batcher that it is for; empty: by the setup
	raises   bool   // the acker does
	settings bool   // the acker is a Configurer
	inBatch  bool   // it fails there
}

// do does one step of the case.
func (s *scene) do(step string) {
	s.Helper()
	if name, rest, ok := strings.Cut(strings.TrimPrefix(step, "only batcher "), ", "); ok && strings.HasPrefix(step, "only batcher ") {
		s.end()
		s.Setup["batchers"], _ = json.Marshal([]string{name})
		s.start(s.described())
		step = rest
	}
	switch {
	case strings.HasPrefix(step, "push "):
		s.source.push(s.pushed(step)...)
		synctest.Wait()
		if strings.Contains(step, "stop at once") {
			s.end()
		}
	case strings.HasPrefix(step, "wait "):
		ms, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(step, "wait "), " ms"))
		if err != nil {
			s.Fatalf("%s: unknown step %q", s.ID, step)
		}
		time.Sleep(time.Duration(ms) * time.Millisecond)
	case step == "stop":
		begun := time.Now()
		s.end()
		s.took = time.Since(begun)
	case step == "run", step == "start":
	case step == "batch with raise":
		s.inOneBatch("push " + s.failedIn("raised"))
	case step == "batch ok ok fail ok":
		s.ackList()
	case step == "batch with bad return", step == "batch dropping one message":
		// A handler cannot return anything but an error, and cannot leave a message out.
	default:
		s.Fatalf("%s: unknown step %q", s.ID, step)
	}
}

// failedIn are the values that an expected call settles as failed: the batch that the step does not tell of.
func (s *scene) failedIn(key string) string {
	s.Helper()
	var raw [][]any
	if err := json.Unmarshal(s.Expect[key], &raw); err != nil || len(raw) != 1 || len(raw[0]) != 4 {
		s.Fatalf("%s: %d calls are expected of %q: %v", s.ID, len(raw), key, err)
	}
	var values []string
	failed, _ := raw[0][3].([]any)
	for _, end := range failed {
		pair, _ := end.([]any)
		values = append(values, fmt.Sprint(pair[0]))
	}
	return strings.Join(values, " ")
}

// inOneBatch pushes what fails as a batch.
func (s *scene) inOneBatch(step string) {
	items := s.pushed(step)
	all(items, func(i *item) { i.inBatch = i.value == "raise" })
	s.source.push(items...)
	synctest.Wait()
}

// ackList settles several messages by one call.
func (s *scene) ackList() {
	s.end()
	c := s.config(8)
	c.Prepare = func(ctx context.Context, group []*pipeline.Message[item]) error {
		for _, m := range group {
			m.Fail(s.process(ctx, m.Value))
		}
		pipeline.AckNow(group...)
		return nil
	}
	s.start(c)
	s.source.push(s.pushed("push 1, 2, fail, 4")...)
}

// What a push may say beside its values.
var modifiers = []struct {
	words *regexp.Regexp
	apply func(items []item, n int)
}{
	{regexp.MustCompile(` with random handling time`), func(items []item, _ int) {
		for i := range items {
			items[i].takes = time.Duration(rand.IntN(10)) * time.Millisecond
		}
	}},
	{regexp.MustCompile(`, record handle times`), nil},
	{regexp.MustCompile(`, stop at once`), nil},
	{regexp.MustCompile(`, (?:all|both) failed in batch`), func(items []item, _ int) { all(items, func(i *item) { i.inBatch = true }) }},
	{regexp.MustCompile(`, first handler hangs`), func(items []item, _ int) { items[0].takes = time.Hour }},
	{regexp.MustCompile(` by parity`), nil},
	{regexp.MustCompile(` \(emit when [a-z >=]+\)`), nil},
	{regexp.MustCompile(` unrouted`), func(items []item, _ int) { all(items, func(i *item) { i.routed = false }) }},
	{regexp.MustCompile(`(?: both| all)? failing`), func(items []item, _ int) { all(items, func(i *item) { i.fails = true }) }},
	{regexp.MustCompile(` with the (\d+)(?:st|nd|rd|th) flush`), func(items []item, n int) { items[n-1].flush = true }},
	{regexp.MustCompile(` flush$`), func(items []item, _ int) { all(items, func(i *item) { i.flush = true }) }},
	{regexp.MustCompile(` of (\d+) ms`), func(items []item, n int) {
		all(items, func(i *item) { i.takes = time.Duration(n) * time.Millisecond })
	}},
}

func all(items []item, f func(*item)) {
	for i := range items {
		f(&items[i])
	}
}

var (
	notePattern = regexp.MustCompile(`(\S+?) ?\(([a-z ]+)\)`)
	partPattern = regexp.MustCompile(`^([a-z_]+|\d+|\d+\.\.\d+)(?::([a-z]+))?$`)
)

// pushed reads a step that pushes: numbers, words for what happens, ranges, or how many.
func (s *scene) pushed(step string) (items []item) {
	s.Helper()
	rest, ok := strings.CutPrefix(step, "push ")
	if !ok {
		s.Fatalf("%s: unknown step %q", s.ID, step)
	}
	var apply []func([]item)
	for _, m := range modifiers {
		found := m.words.FindStringSubmatch(rest)
		if found == nil {
			continue
		}
		rest = strings.Replace(rest, found[0], "", 1)
		if m.apply != nil {
			n := 0
			if len(found) > 1 {
				n, _ = strconv.Atoi(found[1])
			}
			apply = append(apply, func(items []item) { m.apply(items, n) })
		}
	}
	notes := map[string]string{}
	rest = notePattern.ReplaceAllStringFunc(rest, func(part string) string {
		found := notePattern.FindStringSubmatch(part)
		notes[found[1]] = found[2]
		return found[1]
	})
	inBatch := s.failsInBatch()
	parts := strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == ',' })
	for _, part := range parts {
		found := partPattern.FindStringSubmatch(part)
		if found == nil {
			s.Fatalf("%s: unknown step %q: %q", s.ID, step, part)
		}
		more := s.values(found[1], len(parts) == 1)
		all(more, func(i *item) { i.inBatch = inBatch && (i.value == "fail" || i.value == "raise") })
		items = append(items, more...)
		last := &items[len(items)-1]
		if found[2] != "" {
			last.ref = found[2]
		}
		s.noted(last, notes[part])
	}
	for _, f := range apply {
		f(items)
	}
	return items
}

// noted is what a step says of one of its values in parentheses.
func (s *scene) noted(i *item, note string) {
	s.Helper()
	switch {
	case note == "", note == "not":
	case note == "other acknowledger":
		i.other = true
	case note == "raising acknowledger":
		i.raises = true
	case note == "configurable":
		i.settings = true
	case note == "flush":
		i.flush = true
	case strings.HasPrefix(note, "batcher "):
		i.to = strings.TrimPrefix(note, "batcher ")
	default:
		s.Fatalf("%s: unknown note %q", s.ID, note)
	}
}

// words are values that say what is to happen.
var words = []string{"fail", "raise", "bad", "kill", "error", "exit", "throw", "bad_return", "kill_batcher", "ok"}

// values are those of one part of a push. A number that is alone says how many.
func (s *scene) values(part string, alone bool) (items []item) {
	s.Helper()
	from, to, isRange := strings.Cut(part, "..")
	n, err := strconv.Atoi(from)
	switch {
	case err != nil && !slices.Contains(words, part):
		s.Fatalf("%s: unknown value %q", s.ID, part)
	case err != nil:
		return []item{{value: part, ref: "r", routed: true}}
	case isRange:
		last, err := strconv.Atoi(to)
		if err != nil {
			s.Fatal(err)
		}
		for ; n <= last; n++ {
			items = append(items, item{value: n, ref: "r", routed: true})
		}
		return items
	case alone:
		return s.values(fmt.Sprint("1..", part), false)
	}
	return []item{{value: n, ref: "r", routed: true}}
}
