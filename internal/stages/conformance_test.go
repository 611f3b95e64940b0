package stages_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// conformance is one case of testdata: what the original did in a given situation.
type conformance struct {
	ID, Title, Verdict string
	Go                 string // what is different here
	Setup              map[string]json.RawMessage
	Steps              []string
	Expect             expectations
}

// expectations are the parts of what a case expects, in the order of the file; a list has one part, "all".
type expectations struct {
	keys  []string
	parts map[string]json.RawMessage
}

func (e *expectations) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		*e = expectations{[]string{"all"}, map[string]json.RawMessage{"all": slices.Clone(data)}}
		return nil
	}
	keys, err := keysOf(data)
	if err != nil {
		return err
	}
	*e = expectations{keys: keys}
	return json.Unmarshal(data, &e.parts)
}

// keysOf returns the keys of an object in their order.
func keysOf(data []byte) (keys []string, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, fmt.Errorf("%v is no key", key)
		}
		keys = append(keys, name)
		if err := dec.Decode(new(json.RawMessage)); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// cases reads all files of an area: what was recorded, and ours, which are worked out by hand.
func cases(t *testing.T, area string) (all []conformance) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", area+"*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of cases, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var area struct{ Cases []conformance }
		if err := json.Unmarshal(data, &area); err != nil || len(area.Cases) == 0 {
			t.Fatalf("%s has %d cases, %v", file, len(area.Cases), err)
		}
		for i := range area.Cases {
			area.Cases[i].inherit(area.Cases[:i])
		}
		all = append(all, area.Cases...)
	}
	return all
}

// inherit fills in the steps that are "as above", or continue those of the case before.
func (c *conformance) inherit(before []conformance) {
	if len(before) == 0 || len(c.Steps) == 0 {
		return
	}
	above := before[len(before)-1].Steps
	first, continues := strings.CutPrefix(c.Steps[0], "continue: ")
	switch {
	case c.Steps[0] == "as above":
		c.Steps = slices.Concat(above, c.Steps[1:])
	case continues:
		c.Steps = slices.Concat(above, []string{first}, c.Steps[1:])
	}
}

// A script enacts the cases that are not about the log of a few stages. It is chosen by what such a case
// expects, has in its setup, or does: a key of each, and the beginning of a step; any that is not empty. What
// it knows are the words of such a case: keys of the setup and of what is expected, and steps.
type script struct {
	expects, setup, step string
	knows                string
	enact                func(*scene)
}

func (x *script) fits(c *conformance) bool {
	return (x.expects == "" || c.Expect.parts[x.expects] != nil) && (x.setup == "" || c.Setup[x.setup] != nil) &&
		(x.step == "" || slices.ContainsFunc(c.Steps, func(step string) bool { return strings.HasPrefix(step, x.step) }))
}

// run fails on a word that the script does not know.
func (x *script) run(s *scene) {
	s.Helper()
	known := regexp.MustCompile("^(?:" + x.knows + ")$")
	for _, words := range [][]string{slices.Collect(maps.Keys(s.Setup)), s.Expect.keys, s.Steps} {
		for _, word := range words {
			if !known.MatchString(word) && !strings.HasPrefix(word, "elixir") {
				s.Fatalf("%s: unknown word %q", s.ID, word)
			}
		}
	}
	x.enact(s)
}

// tells checks that the case expects, in these words, what the script has played.
func (s *scene) tells(key string, texts ...string) {
	s.Helper()
	var got string
	if err := json.Unmarshal(s.Expect.parts[key], &got); err != nil || !slices.Contains(texts, got) {
		s.Fatalf("%s: unknown expectation %q: %s", s.ID, key, s.Expect.parts[key])
	}
}

// enact plays each case of an area in a bubble of its own: by the script that fits, or else by what it says.
func enact(t *testing.T, area string, otherwise func(*scene), scripts ...script) {
	t.Helper()
	for _, c := range cases(t, area) {
		t.Run(c.ID, func(t *testing.T) {
			enacted := otherwise
			if i := slices.IndexFunc(scripts, func(x script) bool { return x.fits(&c) }); i >= 0 {
				enacted = scripts[i].run
			}
			play(t, c, enacted)
		})
	}
}

// vectorWords are those of a case that is about a file of vectors.
const vectorWords = `file|equal|replay|feed (?:each vector to the demand accounting function|vectors)`

// vectorTests are where the files of vectors are replayed.
var vectorTests = map[string]string{
	"split_batches.json": "TestDemandVectors", "buffer.json": "TestBufferVectors",
	"demand_dispatcher.json": "TestDemandDispatcherVectors", "broadcast_dispatcher.json": "TestBroadcastDispatcherVectors",
	"partition_dispatcher.json": "TestPartitionDispatcherVectors",
}

func replayed(s *scene) {
	test := vectorTests[filepath.Base(s.text("file"))]
	if test == "" {
		s.Fatalf("nobody replays %s", s.text("file"))
	}
	s.tells("equal", "all", "per consumer deliveries, upstream demand, leftovers, self re-asks")
	s.Logf("see %s", test)
}
