package filter

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/millhand/millhand/internal/job"
)

// A Filter says which jobs are meant. The zero value is all of them.
type Filter struct {
	Terms []Term // all of them have to hold
}

// A Term is about one property of a job.
type Term struct {
	Negated bool
	Key     Key
	Name    string  // of Meta: which
	Values  []Value // one of them has to hold; never empty
}

// A Key names the property that a term is about.
type Key string

// The keys.
const (
	Word    Key = "" // no key: an id or, if no job has it, a part of the payload
	State   Key = "state"
	Queue   Key = "queue"
	Type    Key = "type"
	ID      Key = "id"
	Worker  Key = "worker"
	Reason  Key = "reason"
	Error   Key = "error"
	Group   Key = "group" // of equal errors
	Payload Key = "payload"
	Meta    Key = "meta"
	Attempt Key = "attempt"
	Crashes Key = "crashes"
	Life    Key = "life"
	By      Key = "by"    // who put it into its state, if that was a person
	Age     Key = "age"   // how long it has been in its state
	Due     Key = "due"   // how long until it is due; negative: overdue
	Since   Key = "since" // it came into its state at that time or later
	Until   Key = "until" // it came into its state before that time
	Wait    Key = "wait"  // how long it was ready before it started, or has been ready
	Run     Key = "run"   // how long its last run took, or has taken
	Trace   Key = "trace"
)

// Keys returns all keys that can be written, in the order of the documentation.
func Keys() []Key {
	return []Key{
		State, Queue, Type, ID, Worker, Reason, Error, Group, Payload, Meta, Attempt, Crashes, Life, By,
		Age, Due, Since, Until, Wait, Run, Trace,
	}
}

// An Op says how a value is compared.
type Op string

// The ways to compare.
const (
	Equals  Op = ""  // of Error and Payload: contains, whatever the case of letters
	Prefix  Op = "*" // begins with
	Less    Op = "<"
	AtMost  Op = "<="
	More    Op = ">"
	AtLeast Op = ">="
	Range   Op = ".." // both ends included
)

// A Value is what a property is compared with.
type Value struct {
	Op   Op
	Text string // as it was written; of a Range its lower end, empty if it is open
	To   string // of a Range its upper end, empty if it is open

	low, high int64     // what is compared of numbers, and of durations in ns: both included
	at        time.Time // of Since and Until, unless it is that long ago
	ago       time.Duration
}

// With returns the filter with one more term, which has to be one that can be parsed.
func (f Filter) With(t Term) Filter {
	return Filter{Terms: append(slices.Clip(f.Terms), t)}
}

// As returns the filter with its words taken for values of a key: ID or Payload.
func (f Filter) As(k Key) Filter {
	terms := slices.Clone(f.Terms)
	for i := range terms {
		if terms[i].Key == Word {
			terms[i].Key = k
		}
	}
	return Filter{Terms: terms}
}

// Has reports whether a term is about the key.
func (f Filter) Has(k Key) bool {
	return slices.ContainsFunc(f.Terms, func(t Term) bool { return t.Key == k })
}

// States returns the states that a matching job can have, all of them if the filter leaves that open.
func (f Filter) States() []job.State {
	return slices.DeleteFunc(states(), func(s job.State) bool {
		return slices.ContainsFunc(f.Terms, func(t Term) bool {
			return t.Key == State && t.Negated == slices.ContainsFunc(t.Values, func(v Value) bool { return inState(s, v.Text) })
		})
	})
}

// Names returns the names of a key of which a matching job has one, and false if the filter does not say
// so. None at all, with true, is a filter that nothing matches.
func (f Filter) Names(k Key) ([]string, bool) {
	var names []string
	bound := false
	for _, t := range f.Terms {
		if t.Key != k || t.Negated || slices.ContainsFunc(t.Values, func(v Value) bool { return v.Op != Equals }) {
			continue
		}
		var these []string
		for _, v := range t.Values {
			if !slices.Contains(these, v.Text) && (!bound || slices.Contains(names, v.Text)) {
				these = append(these, v.Text)
			}
		}
		names, bound = these, true
	}
	return names, bound
}

// Window returns the times between which a matching job came into its state; zero is open. The second
// one is not included.
func (f Filter) Window(now time.Time) (since, until time.Time) {
	for _, t := range f.Terms {
		switch at := t.Values[0].time(now); {
		case t.Key == Since && at.After(since):
			since = at
		case t.Key == Until && (until.IsZero() || at.Before(until)):
			until = at
		}
	}
	return since, until
}

func (v *Value) time(now time.Time) time.Time {
	if v.at.IsZero() {
		return now.Add(-v.ago)
	}
	return v.at
}

// String is the filter in its language: [Parse] of it is the same filter.
func (f Filter) String() string {
	terms := make([]string, len(f.Terms))
	for i := range f.Terms {
		terms[i] = f.Terms[i].String()
	}
	return strings.Join(terms, " ")
}

// String is the term in its language.
func (t *Term) String() string {
	var b strings.Builder
	if t.Negated {
		b.WriteByte('-')
	}
	if t.Key != Word {
		b.WriteString(string(t.Key))
		if t.Key == Meta {
			b.WriteString("." + t.Name)
		}
		b.WriteByte(':')
	}
	for i, v := range t.Values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(v.text(t.Key))
	}
	return b.String()
}

func (v *Value) text(k Key) string {
	switch v.Op {
	case Less, AtMost, More, AtLeast:
		return string(v.Op) + v.Text
	case Range:
		return v.Text + string(Range) + v.To
	case Equals, Prefix:
	}
	if needsQuotes(v.Text, k) {
		return quoted(v.Text) + string(v.Op)
	}
	return v.Text + string(v.Op)
}

// needsQuotes reports whether a word would be read as something else.
func needsQuotes(word string, k Key) bool {
	if word == "" || strings.ContainsFunc(word, endsWord) || strings.ContainsAny(word, `"*`) || strings.ContainsAny(word[:1], "<>") {
		return true
	}
	return k == Word && (word[0] == '-' || strings.Contains(word, ":"))
}

// endsWord reports whether r cannot be in a word.
func endsWord(r rune) bool { return r == ',' || unicode.IsSpace(r) }

func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
