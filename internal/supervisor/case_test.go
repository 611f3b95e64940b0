package supervisor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// testCase is one observation of the real thing: Erlang's and Elixir's libraries, or the book's
// programs on them. Verdict "carry" means that Go behaves the same; "adapt" and "avoid" that it
// behaves as the field Go says.
type testCase struct {
	ID      string
	Title   string
	Verdict string
	Setup   json.RawMessage
	Steps   []string
	Expect  json.RawMessage
	Go      string
}

// caseTest is how the cases whose id begins with a prefix are played.
type caseTest struct {
	prefix string
	play   func(t *testing.T, c testCase)
}

// caseForm is how cases with an id that nobody knows are played: by what they say. All steps, joined by
// semicolons, are matched, and what is expected has these parts.
type caseForm struct {
	steps   string
	expects []string
	play    func(t *testing.T, c testCase)
}

func byForm(forms []caseForm, c testCase) (play func(*testing.T, testCase)) {
	var expect map[string]json.RawMessage
	if json.Unmarshal(c.Expect, &expect) != nil {
		return nil
	}
	steps := strings.Join(c.Steps, "; ")
	for _, f := range forms {
		missing := slices.ContainsFunc(f.expects, func(part string) bool { return expect[part] == nil })
		if !missing && regexp.MustCompile("^(?:"+f.steps+")$").MatchString(steps) {
			return f.play
		}
	}
	return nil
}

// runCases plays every case of a file in a bubble of its own. A case that no test knows is an
// error.
func runCases(t *testing.T, file string, tests []caseTest, forms ...caseForm) {
	t.Helper()
	for _, c := range readCases(t, file) {
		t.Run(c.ID, func(t *testing.T) {
			play := longestPrefix(tests, c.ID)
			if play == nil {
				play = byForm(forms, c)
			}
			if play == nil {
				t.Fatalf("no test for the %s case %q: %s", c.Verdict, c.ID, c.Title)
			}
			synctest.Test(t, func(t *testing.T) { play(t, c) })
		})
	}
}

func readCases(t *testing.T, file string) []testCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var cases struct{ Cases []testCase }
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	return cases.Cases
}

func longestPrefix(tests []caseTest, id string) (play func(*testing.T, testCase)) {
	length := -1
	for _, test := range tests {
		if strings.HasPrefix(id, test.prefix) && len(test.prefix) > length {
			play, length = test.play, len(test.prefix)
		}
	}
	return play
}

// decode decodes what a case expects, or a part of its setup.
func decode[T any](t *testing.T, raw json.RawMessage) T {
	t.Helper()
	var v T
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("case does not have the expected form: %v\n%s", err, raw)
	}
	return v
}

// setup is a supervisor as the cases describe it.
type setup struct {
	Kind         string
	Strategy     string
	MaxRestarts  *int    `json:"max_restarts"`
	MaxSeconds   float64 `json:"max_seconds"`
	AutoShutdown string  `json:"auto_shutdown"`
	Children     []childSetup
	Outer        *setup
}

type childSetup struct {
	ID          string
	Type        string
	Restart     string
	Init        string
	CleanupMS   int     `json:"cleanup_ms"`
	ShutdownMS  int     `json:"shutdown_ms"`
	Shutdown    string  // brutal_kill, infinity
	MaxRestarts *int    `json:"max_restarts"`
	MaxSeconds  float64 `json:"max_seconds"`
	Strategy    string
	Significant bool
	Children    []childSetup
}

// UnmarshalJSON accepts the short form of a child, its id, and ids that are numbers.
func (c *childSetup) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, &c.ID)
	}
	type plain childSetup
	long := struct {
		*plain
		ID any
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(text, &long); err != nil {
		return err
	}
	c.ID = fmt.Sprint(long.ID)
	return nil
}

// caseEvent is an event as the cases write it: ["start","a"], ["terminated","a","shutdown"],
// "init".
type caseEvent string

func (e *caseEvent) UnmarshalJSON(text []byte) error {
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return err
	}
	*e = caseEvent(compact.String())
	return nil
}

// recorder keeps what happened, in order.
type recorder struct {
	mu     sync.Mutex
	events []caseEvent
}

func (r *recorder) record(parts ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event(parts...))
}

// recorded waits until all is quiet and returns what happened since the beginning.
func (r *recorder) recorded() []caseEvent {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// take is recorded since the last take.
func (r *recorder) take() []caseEvent {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// event makes a caseEvent of its parts.
func event(parts ...any) caseEvent {
	if len(parts) == 1 {
		text, _ := json.Marshal(parts[0]) // strings and numbers only
		return caseEvent(text)
	}
	text, _ := json.Marshal(parts)
	return caseEvent(text)
}
