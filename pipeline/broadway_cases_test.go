package pipeline_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// A conformance is one case of testdata: what Broadway did in a given situation.
type conformance struct {
	ID, Title, Verdict, Determinism string
	Setup                           map[string]json.RawMessage
	Steps                           []string
	Expect                          map[string]json.RawMessage

	Area, Legend, Note, Go string // for people
	Source                 []string
}

// scripts are for what is not seen in the log of one pipeline, by what such a case expects or does. All
// other cases are read: their setup, each of their steps, and each of what they expect. What is not
// understood fails, in a script too.
var scripts = []struct {
	expects, step, setup string // a key of expect, the beginning of a step, a key of setup; any that is not empty
	knows                string // the steps, and the keys of the setup and of what is expected
	script               func(*scene)
}{
	{
		expects: "max_demand", script: defaults,
		knows: `read the topology|producers|processors|(?:max|min)_demand|batch_(?:size|timeout_ms|concurrency)|(?:shutdown|resubscribe)_ms|max_(?:restarts|seconds)`,
	},
	{expects: "sequence", knows: `batch_size|sequence|span|attach to all events|push`, script: telemetry},
	{expects: "demands", knows: `start|producers|processors|max_demand|demands|indexes`, script: producerConcurrency},
	{
		step: "get", setup: "allowed", script: rateLimitUpdate,
		knows: `allowed|interval_ms|(?:max|min)_demand|run|start|get\d?|update allowed \d+(?: reset)?|wait \d+ ms|before|after_update(?:_reset)?`,
	},
	{step: "get", knows: `get|update|results`, script: rateLimitOff},
	{setup: "partition_by", knows: `processors|partition_by|per_processor|push .+`, script: partitions},
	{step: "crash producer", knows: `resubscribe_ms|crash producer|push .+|events|next|processor_same`, script: producerCrash},
	{step: "kill batcher", knows: `batch_size|kill batcher with messages \d+(?:,\d+)* inside|acked|lost`, script: batcherKill},
	{step: "push_messages", knows: `push_messages [\d ]+|handled|ack`, script: pushMessages},
	{step: "test_message", knows: benchWords, script: benched},
	{step: "test_batch", knows: benchWords, script: benched},
}

const benchWords = `batch_size|test_message .+|test_batch .+|acks`

func TestBroadwayCases(t *testing.T) {
	for _, c := range readCases(t) {
		t.Run(c.ID, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scene{T: t, conformance: c}
				defer s.end()
				defer s.failsAlone()
				s.enact()
			})
		})
	}
}

// failsAlone has a case that has another form than its kind fail, and not end the others.
func (s *scene) failsAlone() {
	s.Helper()
	if v := recover(); v != nil {
		s.Errorf("the case has a form that nobody knows: %v\n%s", v, debug.Stack())
	}
}

// readCases reads all files of cases: what was recorded, and ours, which are worked out by hand.
func readCases(t *testing.T) (all []conformance) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "broadway*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of cases, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var area struct {
			Area  string
			Cases []conformance
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields() // which would be something that nobody looks at
		if err := dec.Decode(&area); err != nil || len(area.Cases) == 0 {
			t.Fatalf("%s has %d cases, %v", file, len(area.Cases), err)
		}
		all = append(all, area.Cases...)
	}
	return all
}

func (s *scene) enact() {
	if !slices.Contains([]string{"carry", "adapt", "avoid"}, s.Verdict) || !slices.Contains([]string{"exact", "set", "invariant", "timing"}, s.Determinism) {
		s.Fatalf("%s: unknown verdict %q or determinism %q", s.ID, s.Verdict, s.Determinism)
	}
	for _, x := range scripts {
		_, expects := s.Expect[x.expects]
		_, setup := s.Setup[x.setup]
		step := slices.ContainsFunc(s.Steps, func(step string) bool { return strings.HasPrefix(step, x.step) })
		if (x.expects == "" || expects) && (x.setup == "" || setup) && (x.step == "" || step) {
			s.knows(x.knows)
			x.script(s)
			return
		}
	}
	s.start(s.described())
	logs := make([][]entry, len(s.Steps))
	for i, step := range s.Steps {
		s.do(step)
		logs[i] = s.happened()
	}
	if n := len(logs); n > 0 && !s.over() {
		// What waits for its time comes, unless the case has a step for that.
		time.Sleep(s.ms("batch_timeout_ms", 1000) + 10*s.ms("interval_ms", 100))
		logs[n-1] = append(logs[n-1], s.happened()...)
	}
	for _, key := range s.expectations() {
		s.compare(key, logs)
	}
}

// knows fails on a word of the case that is not one of these.
func (s *scene) knows(words string) {
	s.Helper()
	known := regexp.MustCompile("^(?:" + words + ")$")
	for _, all := range [][]string{slices.Sorted(maps.Keys(s.Setup)), s.Steps, s.expectations()} {
		for _, word := range all {
			if !known.MatchString(word) && !strings.HasSuffix(word, "elixir") {
				s.Fatalf("%s: unknown word %q", s.ID, word)
			}
		}
	}
}

// over reports whether the case says itself when time passes.
func (s *scene) over() bool {
	return slices.ContainsFunc(s.Steps, func(step string) bool { return strings.HasPrefix(step, "wait") })
}

// expectations are the keys of what is expected, in the order of their names.
func (s *scene) expectations() (keys []string) {
	for key := range s.Expect {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func parity(i item) string {
	if n, _ := i.value.(int); n%2 == 0 {
		return "even"
	}
	return "odd"
}

func values(items []item) []any {
	out := []any{}
	for _, i := range items {
		out = append(out, i.value)
	}
	return out
}

// triggers are what the cases call them.
var triggers = map[pipeline.Trigger]string{pipeline.Full: "size", pipeline.Due: "timeout", pipeline.Flushed: "flush"}
