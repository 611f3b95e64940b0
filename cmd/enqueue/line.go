package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/timespan"
)

// line is one job of a bulk. Its fields are a contract.
type line struct {
	Type        *string              `json:"type"` // as null: not given, like all others
	Payload     json.RawMessage      `json:"payload"`
	ID          *string              `json:"id"`
	Queue       *string              `json:"queue"`
	MaxAttempts *int                 `json:"max_attempts"`
	Timeout     *string              `json:"timeout"`
	In          *string              `json:"in"`
	At          *string              `json:"at"`
	Expires     *string              `json:"expires"`
	Unique      json.RawMessage      `json:"unique"` // true, or a duration as text
	Meta        map[string]metaValue `json:"meta"`
}

// metaValue is a text of which the decoder replaces nothing.
type metaValue string

// UnmarshalJSON implements json.Unmarshaler.
func (v *metaValue) UnmarshalJSON(b []byte) error {
	if err := checkEscapes(b); err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	return json.Unmarshal(b, (*string)(v))
}

// A template is what holds for lines that do not say otherwise.
type template struct {
	typ, queue string
	terms      terms
	options    []millhand.EnqueueOption // of every line
}

// An entry is the job of a line.
type entry struct {
	number         int // of its line
	request        millhand.Request
	due            time.Time // about, if it waits for its time
	queue, typ, id string    // the id is empty if it is random
}

// parse returns the job that a line describes, or why it describes none.
func (t *template) parse(text []byte) (entry, error) {
	l, err := decodeLine(text)
	if err != nil {
		return entry{}, err
	}
	e := entry{queue: t.queue, typ: t.typ}
	if l.Type != nil {
		e.typ = *l.Type
	}
	if e.typ == "" {
		return entry{}, errors.New("no type; name one in the line or as the argument TYPE")
	}
	if l.Queue != nil {
		e.queue = *l.Queue
	}
	if l.ID != nil {
		e.id = *l.ID
	}
	own, err := l.options()
	if err != nil {
		return entry{}, err
	}
	now := time.Now()
	terms, err := l.terms()
	if err == nil {
		err = terms.check(asField, e.id, now)
	}
	if err != nil {
		return entry{}, err
	}
	terms = terms.over(&t.terms)
	e.due = terms.due(now)
	e.request = millhand.Request{
		Args:    millhand.Raw{Name: e.typ, Payload: l.Payload},
		Options: slices.Concat(t.options, own, terms.options(e.id != "")),
	}
	if e.id == "" && terms.unique.wanted() {
		e.id = job.UniqueID(e.typ, l.Payload)
	}
	return e, nil
}

// decodeLine reads one JSON object, and nothing that a decoder would take for one.
func decodeLine(text []byte) (*line, error) {
	l := &line{Payload: json.RawMessage("{}")}
	if err := checkText(text); err != nil {
		return nil, err
	}
	if text = bytes.TrimSpace(text); text[0] != '{' { // null would be decoded to nothing
		return nil, errors.New("not a job: want a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(l); err != nil {
		return nil, fmt.Errorf("not a job: %w", plainly(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) { // More takes a bracket for the end
		return nil, errors.New("something follows the JSON object")
	}
	if key, ok := repeatedKey(text); ok { // of which the decoder takes the last one
		return nil, fmt.Errorf("not a job: %q is given twice", key)
	}
	return l, nil
}

// plainly says which field has a value of the wrong kind without naming the decoder's own types.
func plainly(err error) error {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok || wrong.Field == "" {
		return err
	}
	want := "text in quotes"
	switch wrong.Field {
	case "max_attempts":
		want = "a whole number"
	case "meta":
		want = `an object of texts, as in {"key":"value"}`
	}
	return fmt.Errorf("%s: want %s, got %s", wrong.Field, want, wrong.Value)
}

// options are those of a line. What is given but empty is an error, as it is for flags.
func (l *line) options() ([]millhand.EnqueueOption, error) {
	var opts []millhand.EnqueueOption
	if l.ID != nil {
		if err := checkID(*l.ID); err != nil {
			return nil, err
		}
		opts = append(opts, millhand.WithID(*l.ID))
	}
	if l.Queue != nil {
		if *l.Queue == "" {
			return nil, errors.New("queue: must not be empty; leave it out for that of --queue")
		}
		opts = append(opts, millhand.WithQueue(*l.Queue))
	}
	if l.MaxAttempts != nil {
		if err := checkMaxAttempts(*l.MaxAttempts); err != nil {
			return nil, err
		}
		opts = append(opts, millhand.WithMaxAttempts(*l.MaxAttempts))
	}
	if l.Timeout != nil {
		d, err := timespan.Parse(*l.Timeout)
		if err == nil {
			err = checkTimeout(d)
		}
		if err != nil {
			return nil, fmt.Errorf("timeout: %w", err)
		}
		opts = append(opts, millhand.WithTimeout(d))
	}
	for k, v := range l.Meta {
		opts = append(opts, millhand.WithMeta(k, string(v)))
	}
	return opts, nil
}

// terms are what the line says of time.
func (l *line) terms() (t terms, err error) {
	if l.At != nil {
		t.at = instant{given: true, text: *l.At}
	}
	for _, d := range []struct {
		name string
		text *string
		to   *span
	}{{"in", l.In, &t.in}, {"expires", l.Expires, &t.expires}} {
		if d.text == nil {
			continue
		}
		if err := d.to.Set(*d.text); err != nil {
			return t, fmt.Errorf("%s: %w", d.name, err)
		}
	}
	t.unique, err = parseUnique(l.Unique)
	return t, err
}

func parseUnique(text json.RawMessage) (u uniqueness, err error) {
	var v any
	if len(text) > 0 {
		err = json.Unmarshal(text, &v)
	}
	switch v := v.(type) {
	case nil:
	case bool:
		u = uniqueness{given: true, alive: v}
	case string:
		err = u.Set(v)
	default:
		err = errors.New("want true, or a duration in quotes")
	}
	if err != nil {
		err = fmt.Errorf("unique: %w", err)
	}
	return u, err
}
