package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// An Event is what happened to a job, as the events stream keeps it. The last one of
// an id is the job's state.
type Event struct {
	Kind job.EventKind `json:"event"`
	Life string        `json:"life"`
	// Seq is the sequence of the job's message that the event speaks of. Of two lives
	// with one id, the one with the higher Seq is the newer.
	Seq        uint64    `json:"seq"`
	Time       time.Time `json:"time"`
	Node       string    `json:"node,omitempty"`
	Holder     string    `json:"holder,omitempty"` // the delivery it was written for
	Attempt    int       `json:"attempt"`          // the run that ended, from 1
	Crashes    int       `json:"crashes,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Error      string    `json:"error,omitempty"`
	Stack      string    `json:"stack,omitempty"`
	EnqueuedAt time.Time `json:"enqueued_at,omitzero"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	RunAt      time.Time `json:"run_at,omitzero"` // the next run, of a retry or snooze
	Trace      string    `json:"trace,omitempty"` // the id of the run's trace, if that is kept
	// Overtaken marks what a life says behind the events of a newer one, which a publisher
	// started without asking whether the id is alive.
	Overtaken bool `json:"overtaken,omitempty"`

	Result json.RawMessage `json:"result,omitempty"`
	// ResultText tells text that stands as a JSON string from JSON that is one.
	ResultText   bool   `json:"result_text,omitempty"`
	ResultBase64 []byte `json:"result_base64,omitempty"`

	Sequence uint64 `json:"-"` // its own, in the events stream
}

// SetResult stores what a handler returned: JSON as it is, other text as a JSON string, and
// other bytes, or long text that is mostly escapes, as base64. JSON is UTF-8; what is not,
// no reader of the event would take.
func (e *Event) SetResult(b []byte) {
	if len(b) == 0 {
		return
	}
	if !utf8.Valid(b) {
		e.ResultBase64 = b
		return
	}
	if !deep(b) && json.Valid(b) {
		e.Result = compact(b)
		return
	}
	if s := jsonString(b); len(s) <= maxEncodedResult {
		e.Result, e.ResultText = s, true
		return
	}
	e.ResultBase64 = b
}

// Output returns what a handler returned. Only the space between the tokens of JSON is not kept.
func (e *Event) Output() []byte {
	var text string
	switch {
	case len(e.ResultBase64) > 0:
		return e.ResultBase64
	case e.ResultText && json.Unmarshal(e.Result, &text) == nil:
		return []byte(text)
	}
	return e.Result
}

// compact returns b, which is JSON, without the space between its values: itself if it has none.
func compact(b []byte) json.RawMessage {
	if !bytes.ContainsAny(b, " \t\r\n") {
		return b
	}
	buf := bytes.NewBuffer(make([]byte, 0, len(b)))
	_ = json.Compact(buf, b) // which valid JSON does not fail
	return buf.Bytes()
}

// maxNesting is how deep a result may be nested that stands as JSON. Readers have limits:
// Go's 10,000, of which the event is one, and Python's about 1,000.
const maxNesting = 500

// deep reports whether b, if it is JSON, is nested deeper than maxNesting.
func deep(b []byte) bool {
	if len(b) <= maxNesting { // it has no room for that
		return false
	}
	depth, text := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '[', c == '{':
			if depth++; depth > maxNesting {
				return true
			}
		case c == ']', c == '}':
			depth--
		}
	}
	return false
}

// maxEncodedResult is the length of the largest payload as base64.
const maxEncodedResult = job.MaxPayload/3*4 + 4

func jsonString(b []byte) json.RawMessage {
	encoded, _ := encode(string(b)) // a string always encodes
	return encoded
}

// encode is json.Marshal without the escapes for HTML.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// bareEvent is about how long an event is without its texts and its result, bytes.
const bareEvent = 512

func (s *Store) eventMsg(p job.Place, e *Event) (*nats.Msg, error) {
	texts := len(e.Error) + len(e.Stack) + len(e.Result) + len(e.ResultBase64)
	body, err := appendEvent(make([]byte, 0, bareEvent+texts+texts/8), e)
	if err != nil {
		return nil, fmt.Errorf("%w: event of %s: %w", errUnwritable, p.ID, err)
	}
	return &nats.Msg{
		Subject: s.names.event(p),
		Header:  nats.Header{headerEvent: {string(e.Kind)}},
		Data:    body,
	}, nil
}

// overtaken reports whether e may stand behind events of newer lives.
func (e *Event) overtaken() bool { return e.Overtaken || e.Reason == job.ReasonSuperseded }

// readEvent decodes m. A message that is no event, since somebody else wrote to the stream, is
// read as one without life and sequence: older than every job.
func readEvent(m *stream.Message) *Event {
	e := new(Event)
	if err := json.Unmarshal(m.Data, e); err != nil {
		e = new(Event)
	}
	e.Sequence = m.Seq
	return e
}

// LastEvent returns the newest event of an id, of whichever life, or [ErrNotFound].
func (s *Store) LastEvent(ctx context.Context, p job.Place) (*Event, error) {
	m, err := s.client.Last(ctx, s.names.eventStream(), s.names.event(p))
	if err != nil {
		return nil, err
	}
	return readEvent(m), nil
}

// LastEvents returns the newest event of each of these ids that has one, as a replica of the events
// knows them: one that is missing may be there nevertheless. Ids may be given more than once.
func (s *Store) LastEvents(ctx context.Context, places []job.Place) (map[job.Place]*Event, error) {
	of := make(map[string]job.Place, len(places))
	subjects := make([]string, 0, len(places))
	for _, p := range places {
		subject := s.names.event(p)
		if _, again := of[subject]; !again {
			subjects = append(subjects, subject)
		}
		of[subject] = p
	}
	events := make(map[job.Place]*Event, len(subjects))
	for m, err := range s.client.LastOfEach(ctx, s.names.eventStream(), subjects) {
		if err != nil {
			return nil, err
		}
		events[of[m.Subject]] = readEvent(m)
	}
	return events, nil
}

// maxHistory bounds the results in a history, bytes: those of the newest lives are kept.
const maxHistory = 4 << 20

// History returns the retained events of an id, oldest first, of all its lives. Where lives had
// large results, those of the older ones are left out, but for that of the given life.
func (s *Store) History(ctx context.Context, p job.Place, life string) ([]Event, error) {
	var history []Event
	bytes, oldest := 0, 0
	err := s.eachEvent(ctx, p, func(e *Event) bool {
		history = append(history, *e)
		bytes += e.resultBytes()
		for ; bytes > maxHistory && oldest < len(history)-1; oldest++ {
			old := &history[oldest]
			if old.Life == life {
				continue
			}
			bytes -= old.resultBytes()
			old.Result, old.ResultText, old.ResultBase64 = nil, false, nil
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	return history, nil
}

func (e *Event) resultBytes() int { return len(e.Result) + len(e.ResultBase64) }

// eachEvent calls f with the retained events of an id, oldest first, until it returns false. It
// reads one at a time: only the stream's leader is known to have the newest, and that hands out no
// more than one at once. Whoever can read many asks a replica, which may lag behind.
func (s *Store) eachEvent(ctx context.Context, p job.Place, f func(*Event) bool) error {
	subject := s.names.event(p)
	for from := uint64(1); ; {
		m, err := s.client.Next(ctx, s.names.eventStream(), subject, from)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil || !f(readEvent(m)) {
			return err
		}
		from = m.Seq + 1
	}
}
