package console

import (
	"context"
	"errors"
	"time"
)

// A Kind is what a screen shows.
type Kind int

// The kinds of screens. The first eight are tabs, in the order of their digits.
const (
	Overview Kind = iota
	Queues
	Types
	Jobs
	Dead
	Workers
	Limits
	Events

	Queue  // one queue
	Type   // one type, in all queues
	Worker // one worker
	Job    // one job
	Why    // what one job waits for
)

const tabs = 8

// A Screen says what is to be seen. The zero value is the overview.
type Screen struct {
	Kind   Kind
	Of     string // the name of the one thing that it is about
	Filter string // in the language of filters
	Pages  int    // of a list, from the first: 0 is one
}

// An Op is something that can be done to rows: its key.
type Op string

// The operations.
const (
	Retry  Op = "R"
	RunNow Op = "N"
	Cancel Op = "C"
	Delete Op = "D"
	Pause  Op = "P" // or resume
	Limit  Op = "L"
	Drain  Op = "Q" // or undrain
)

// word is what the keys at the foot call an operation.
func (o Op) word() string {
	switch o {
	case Retry:
		return "retry"
	case RunNow:
		return "run now"
	case Cancel:
		return "cancel"
	case Delete:
		return "delete"
	case Pause:
		return "pause/resume"
	case Limit:
		return "limit"
	case Drain:
		return "drain"
	}
	return ""
}

// A Page is what a source has of a screen.
type Page struct {
	Where string    // the namespace and its broker
	At    time.Time // that it is of

	Title string // of a screen that is about one thing
	Note  string // what a list is a part of
	Head  []Line // above the table

	Columns []Column
	Rows    []Row
	Empty   string // instead of a table without rows
	More    bool   // with one page more there are more rows

	Lines []Line // instead of a table: a text
	Side  []Line // beside the text, where there is room for two columns; below it, where there is not

	Command string // that shows the same
	Can     []Op   // what can be done to the thing that the screen is about, if it has no rows
	All     []Op   // what can be done to all that the screen's filter means, shown or not
	Name    string // of that thing
	Why     string // as of a row
}

// A Row is a row of a table.
type Row struct {
	Name  string // as nothing else on the page: what the row is about
	Cells []Cell
	Into  *Screen // nil: there is no more to see of it
	Why   string  // of which Why tells what it waits for; empty: it is nothing that waits
	Can   []Op

	Detail string // what is to be known of it whole, though its cells may be cut
}

// A Column of a table.
type Column struct {
	Title string
	Right bool // of numbers
	Spare bool // left out where there is not room for all columns
	Short int  // how narrow it is where there is not; 0: as wide as what is in it
}

// An Operation is what is to be done.
type Operation struct {
	Op     Op
	Screen Screen
	Names  []string // of rows
	All    bool     // all that the screen's filter means, and not rows
	Value  *string  // what was typed, if the plan asked for it
}

// A Plan is an operation before it is done.
type Plan struct {
	// Prompt asks for a value without which it is not known what is to be done; the rest is empty then.
	Prompt string
	// Value is what it is now.
	Value string

	Title   string   // "retry 3,012 dead jobs"
	Lines   []string // what else there is to know of it
	Do      string   // the word that does it
	Type    string   // what has to be typed to go on; empty: to choose is enough
	Command string   // that does the same

	// Act does it, tells how far it has come if that takes long, and returns what became of it. When ctx ends it
	// stops, and says what was done by then.
	Act func(ctx context.Context, tell func(text string)) (string, error)
}

// A Source knows what there is and does what is asked. Its methods are called by several goroutines at once.
type Source interface {
	// Load returns what a screen shows now. An error that is [ErrNoBroker] says that nobody answers.
	Load(ctx context.Context, s Screen) (*Page, error)
	// Plan returns what an operation would do.
	Plan(ctx context.Context, o Operation) (*Plan, error)
	// Check returns an error if a filter cannot be meant on a screen.
	Check(s Screen) error
}

// ErrNoBroker says that there is no connection to a broker, or that it does not answer.
var ErrNoBroker = errors.New("the broker does not answer")
