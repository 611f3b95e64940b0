package pipeline_test

import (
	"encoding/json"
	"os"
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
}

// scripts are for what is not seen in the log of one pipeline, by what such a case expects or does. All
// other cases are read: their setup, each of their steps, and each of what they expect. What is not
// understood fails.
var scripts = []struct {
	expects, step, setup string // a key of expect, the beginning of a step, a key of setup; any that is not empty
	script               func(*scene)
}{
	{expects: "max_demand", script: defaults},
	{expects: "sequence", script: telemetry},
	{expects: "demands", script: producerConcurrency},
	{step: "get", setup: "allowed", script: rateLimitUpdate},
	{step: "get", script: rateLimitOff},
	{setup: "partition_by", script: partitions},
	{step: "crash producer", script: producerCrash},
	{step: "kill batcher", script: batcherKill},
	{step: "push_messages", script: pushMessages},
	{step: "test_message", script: benched},
	{step: "test_batch", script: benched},
}

func TestBroadwayCases(t *testing.T) {
	for _, c := range readCases(t) {
		t.Run(c.ID, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scene{T: t, conformance: c}
				defer s.end()
				s.enact()
			})
		})
	}
}

func readCases(t *testing.T) []conformance {
	t.Helper()
	data, err := os.ReadFile("testdata/broadway.json")
	if err != nil {
		t.Fatal(err)
	}
	var area struct{ Cases []conformance }
	if err := json.Unmarshal(data, &area); err != nil {
		t.Fatal(err)
	}
	return area.Cases
}

func (s *scene) enact() {
	for _, x := range scripts {
		_, expects := s.Expect[x.expects]
		_, setup := s.Setup[x.setup]
		step := slices.ContainsFunc(s.Steps, func(step string) bool { return strings.HasPrefix(step, x.step) })
		if (x.expects == "" || expects) && (x.setup == "" || setup) && (x.step == "" || step) {
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
