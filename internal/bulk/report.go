package bulk

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/view"
)

// A Report says what became of the jobs so far. The names of its fields as JSON are a contract.
type Report struct {
	Done     int            `json:"done"`
	Outcomes map[string]int `json:"outcomes"` // of those that are done
	Refused  map[string]int `json:"refused"`  // by reason: they have moved on, or cannot be acted on
	Failed   int            `json:"failed"`
	Errors   []Failure      `json:"errors,omitempty"` // of the first that failed
	Cursor   string         `json:"cursor,omitempty"` // where to go on; empty: at the end
}

// A Failure is a job that something failed with.
type Failure struct {
	Queue string `json:"queue"`
	Type  string `json:"type"`
	ID    string `json:"id"`
	Error string `json:"error"`
}

// RefusedTotal is how many were refused, for whatever reason.
func (r *Report) RefusedTotal() (n int) {
	for _, of := range r.Refused {
		n += of
	}
	return n
}

// A RefusedError says why a job was not acted on.
type RefusedError struct{ Reason string }

// Error implements error.
func (r *RefusedError) Error() string { return "refused: " + r.Reason }

// failuresInARow are so many that the rest would fail, too.
const failuresInARow = 32

// maxErrors is how many failures a report names.
const maxErrors = 5

// A tally counts what becomes of jobs that are acted on at the same time.
type tally struct {
	tell func(Report)

	mu    sync.Mutex
	sum   Report
	inRow int
	last  error
}

func newTally(tell func(Report)) *tally {
	return &tally{tell: tell, sum: Report{Outcomes: make(map[string]int), Refused: make(map[string]int)}}
}

func (t *tally) note(j *view.Job, outcome string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	refusal, refused := errors.AsType[*RefusedError](err)
	switch {
	case err == nil:
		t.sum.Done++
		t.sum.Outcomes[outcome]++
	case refused:
		t.sum.Refused[refusal.Reason]++
	default:
		t.sum.Failed++
		t.inRow++
		t.last = err
		if len(t.sum.Errors) < maxErrors {
			t.sum.Errors = append(t.sum.Errors, Failure{Queue: j.Queue, Type: j.Type, ID: j.ID, Error: err.Error()})
		}
	}
	if err == nil || refused {
		t.inRow = 0
	}
	if t.tell != nil {
		t.tell(t.sum)
	}
}

// hopeless returns an error once so many have failed that the others would.
func (t *tally) hopeless() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inRow < failuresInARow {
		return nil
	}
	return fmt.Errorf("stopped, since %d in a row failed: %w", t.inRow, t.last)
}

// A place is where an operation is: what came before a time is meant, and of that what is behind a
// list's cursor.
type place struct {
	before time.Time
	cursor string
}

// String is the place as the cursor of an operation, which people copy.
func (p place) String() string {
	return strconv.FormatInt(p.before.UnixNano(), 36) + "." + p.cursor
}

// start is where an operation begins.
func (op *Operation) start() (place, error) {
	if op.Cursor == "" {
		return place{before: op.Before}, nil
	}
	at, cursor, ok := strings.Cut(op.Cursor, ".")
	ns, err := strconv.ParseInt(at, 36, 64)
	if !ok || err != nil || ns <= 0 {
		return place{}, view.ErrCursor
	}
	return place{before: time.Unix(0, ns).UTC(), cursor: cursor}, nil
}
