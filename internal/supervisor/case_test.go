package supervisor

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
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

// runCases plays every case of a file in a bubble of its own. A case that no test knows is an
// error.
func runCases(t *testing.T, file string, tests []caseTest) {
	t.Helper()
	for _, c := range readCases(t, file) {
		t.Run(c.ID, func(t *testing.T) {
			play := longestPrefix(tests, c.ID)
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
