package pipeline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inWords are the parts of an expectation that there is nothing to compare with, and why.
var inWords = map[string]string{
	"processor_same": "goroutines have no identity: what a panic or Goexit costs is seen in the acks",
	"producer_same":  "the same", "processors_replaced": "the same",
	"bad_return":     "a function cannot return anything else than an error",
	"missing_elixir": "what a handler leaves out cannot be left out", "missing_go_expect": "the same",
	"elixir": "what is not done here", "go_expect": "in the documentation of BatcherConfig",
	"span": "in the documentation of Event",
}

var (
	gapPattern  = regexp.MustCompile(`^gap_(\d+)_(\d+)_ms_at_(least|most)$`)
	callPattern = regexp.MustCompile(`^one call with (\d+) successful, (\d+) failed$`)
)

// compare compares what is expected under a key with what happened in the steps.
func (s *scene) compare(key string, logs [][]entry) {
	s.Helper()
	if _, ok := inWords[key]; ok || strings.HasSuffix(key, "_elixir") {
		return
	}
	want := s.decoded(key)
	all := slices.Concat(logs...)
	if gap := gapPattern.FindStringSubmatch(key); gap != nil {
		s.compareGap(key, want, gap)
		return
	}
	switch key {
	case "max_concurrent":
		s.equal(key, want, s.most)
	case "order", "handled":
		s.equal(key, want, handled(s.handled))
	case "acked", "acks", "lost", "failed":
		s.compareAcked(key, want, all)
	case "bounded":
		if took := s.took; took > s.ms("shutdown_ms", 30_000)+10*time.Second {
			s.Errorf("Run returned after %v", took)
		}
	case "alive":
		s.equal(key, want, s.stop != nil)
	default:
		s.compareLog(key, want, s.phase(key, logs))
	}
}

func (s *scene) compareGap(key string, want any, gap []string) {
	s.Helper()
	later, _ := strconv.Atoi(gap[1])
	earlier, _ := strconv.Atoi(gap[2])
	bound, ok := want.(float64)
	if !ok || later > len(s.handled) || earlier < 1 {
		s.Fatalf("%s: %d were handled", key, len(s.handled))
	}
	ms := float64(s.handled[later-1].at.Sub(s.handled[earlier-1].at).Milliseconds())
	if gap[3] == "least" && ms < bound || gap[3] == "most" && ms > bound {
		s.Errorf("%s: %v ms", key, ms)
	}
}

func handled(list []handling) []any {
	out := []any{}
	for _, h := range list {
		out = append(out, h.value)
	}
	return out
}

// compareAcked compares values that were settled, how many or which, in whatever calls. A list of lists is
// of calls.
func (s *scene) compareAcked(key string, want any, log []entry) {
	s.Helper()
	values, calls := []any{}, []any{}
	for _, e := range log {
		if e[0] != "ack" {
			continue
		}
		ok, failed := e[2].([]any), e[3].([]any)
		switch key {
		case "failed":
			values = append(values, failed...)
		case "acks":
			values = append(append(values, ok...), failed...)
		default:
			values = append(values, ok...)
			calls = append(calls, ok)
		}
	}
	list, isList := want.([]any)
	switch {
	case key == "lost": // nothing is
		return
	case !isList:
		s.equal(key, want, len(values))
	case len(list) > 0 && isCalls(list):
		s.equal(key, sorted(want), sorted(plain(s.T, calls)))
	default:
		s.equal(key, sorted(want), sorted(plain(s.T, values)))
	}
}

func isCalls(list []any) bool {
	_, ok := list[0].([]any)
	return ok
}

// ordinals are what expectations of one step after the other are called.
var ordinals = []string{"first", "second", "third", "fourth", "fifth"}

// phase returns the log of the steps that an expectation is about.
func (s *scene) phase(key string, logs [][]entry) []entry {
	s.Helper()
	switch i := slices.Index(ordinals, key); {
	case len(logs) == 0:
		return nil
	case i >= 0 && i < len(logs):
		return logs[i]
	case key == "list" || key == "next" || key == "last" || key == "after":
		return logs[len(logs)-1]
	case key == "before":
		return logs[0]
	}
	if what, ok := strings.CutPrefix(key, "after_"); ok {
		for i, step := range s.Steps {
			if strings.HasPrefix(step, what) || what == "timeout" && strings.HasPrefix(step, "wait") {
				return logs[i]
			}
		}
	}
	for i, step := range s.Steps {
		if len(s.Steps) > 1 && strings.Contains(step, strings.TrimSuffix(key, "d")) { // raised: the step with raise
			return logs[i]
		}
	}
	return slices.Concat(logs...)
}

// compareLog compares what happened with a list of it, leaving out what the case does not tell of.
func (s *scene) compareLog(key string, want any, log []entry) {
	s.Helper()
	if text, ok := want.(string); ok {
		s.compareCall(key, text, log)
		return
	}
	list, ok := want.([]any)
	if !ok {
		s.Fatalf("%s expects %q: %v", s.ID, key, want)
	}
	if strings.HasPrefix(key, "batches") && len(list) > 0 && len(list[0].([]any)) == 2 { // only what and why
		got := []any{}
		for _, e := range log {
			if e[0] == "batch" {
				got = append(got, []any{e[2], e[3]})
			}
		}
		s.equal(key, list, got)
		return
	}
	kinds := s.kinds()
	if key == "calls" || key == "batches" {
		kinds = kindsIn(list)
	}
	got := []any{}
	asked := -sum(list, "demand")
	for _, e := range log {
		switch kind, _ := e[0].(string); {
		case kind == "demand":
			asked += e[1].(int)
		case !slices.Contains(kinds, kind):
		case kind == "ack" && killed(e) && !strings.Contains(string(s.Expect[key]), `"kill"`):
			// Nobody is told of it there, since its processor was lost with it. Here it fails.
		case len(e) == 1:
			got = append(got, kind)
		default:
			got = append(got, []any(e))
		}
	}
	// What is asked for while a Pull waits is part of the next one, so only the sum is the same.
	if slices.Contains(kindsIn(list), "demand") && asked < -5 {
		s.Errorf("%s: %d fewer were asked for than by Broadway", key, -asked)
	}
	list = slices.DeleteFunc(list, func(e any) bool { l, ok := e.([]any); return ok && l[0] == "demand" })
	var expected, have any = list, plain(s.T, got)
	if s.anyOrder() {
		expected, have = sorted(expected), sorted(have)
	}
	s.equal(key, expected, have)
}

// killed reports whether an ack is of a message whose function ended its goroutine.
func killed(e entry) bool {
	failed, _ := e[3].([]any)
	return len(failed) == 1 && failed[0].([]any)[0] == "kill"
}

// compareCall compares the calls of an acker with what a sentence says.
func (s *scene) compareCall(key, text string, log []entry) {
	s.Helper()
	said := callPattern.FindStringSubmatch(text)
	if said == nil {
		s.Fatalf("%s: unknown expectation %q: %q", s.ID, key, text)
	}
	log = slices.DeleteFunc(slices.Clone(log), func(e entry) bool { return e[0] != "ack" })
	if len(log) != 1 || strconv.Itoa(len(log[0][2].([]any))) != said[1] || strconv.Itoa(len(log[0][3].([]any))) != said[2] {
		s.Errorf("%s: %v, want %s", key, log, text)
	}
}

// anyOrder reports whether the order of what happens is free.
func (s *scene) anyOrder() bool {
	return s.Determinism == "set" || s.number("processors", 1) > 1 || s.number("batch_processors", 1) > 1
}

func sum(list []any, kind string) (n int) {
	for _, e := range list {
		if l, ok := e.([]any); ok && l[0] == kind {
			n += int(l[1].(float64))
		}
	}
	return n
}

// kinds are what the case tells of.
func (s *scene) kinds() (all []string) {
	for key := range s.Expect {
		if list, ok := s.decoded(key).([]any); ok {
			all = append(all, kindsIn(list)...)
		}
	}
	return all
}

// tells reports whether the case tells of something.
func (s *scene) tells(kind string) bool { return slices.Contains(s.kinds(), kind) }

func kindsIn(list []any) (kinds []string) {
	for _, e := range list {
		if l, ok := e.([]any); ok && len(l) > 0 {
			e = l[0]
		}
		if kind, ok := e.(string); ok {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// decoded is an expectation, with whatever ends a function of Elixir as the error that it is here.
func (s *scene) decoded(key string) (v any) {
	s.Helper()
	dec := json.NewDecoder(bytes.NewReader(s.Expect[key]))
	if err := dec.Decode(&v); err != nil {
		s.Fatal(err)
	}
	return errorsOnly(v)
}

func errorsOnly(v any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	if len(list) == 2 && (list[0] == "error" || list[0] == "exit" || list[0] == "throw") {
		if end, ok := list[1].([]any); !ok || len(end) != 2 { // else it is a value of that name with its end
			return status(nil)
		}
	}
	for i := range list {
		list[i] = errorsOnly(list[i])
	}
	return list
}

func (s *scene) equal(key string, want, got any) {
	s.Helper()
	if diff := cmp.Diff(plain(s.T, want), plain(s.T, got)); diff != "" {
		s.Errorf("%s: %s (-want +got):\n%s", s.ID, key, diff)
	}
}

func sorted(v any) any {
	if l, ok := v.([]any); ok {
		slices.SortFunc(l, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return v
}

// plain turns a value into what its JSON says.
func plain(t *testing.T, v any) (out any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}
