package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A Failure is one failed attempt of a dead job.
type Failure struct {
	Attempt int       `json:"attempt"`
	Time    time.Time `json:"time"`
	Node    string    `json:"node,omitempty"`
	Event   string    `json:"event"`
	Error   string    `json:"error,omitempty"`
	Stack   string    `json:"stack,omitempty"`
}

// bury stores the dead job with the errors of all its attempts, and leaves out what is too large
// for the stream. If the stream takes it in no form, only the event of its death remains.
func (t *settlement) bury(ctx context.Context) error {
	history, err := readFor(ctx, t, "history", func(ctx context.Context) ([]Event, error) {
		return t.store.History(ctx, t.place, t.Life)
	})
	if err != nil {
		return err
	}
	if err := t.recallPayload(ctx); err != nil {
		return err
	}
	for _, m := range t.deadMsgs(failuresOf(history, t.Life)) {
		if _, err = t.write(ctx, m, "dead record"); !final(err) {
			return wrap(err, "dead record")
		}
	}
	t.store.log.ErrorContext(ctx, "the broker takes no dead record of this job in any form: its payload is lost",
		append(t.attrs(), slog.Int("payload_bytes", len(t.Payload)+t.shed), slog.Any("err", err))...)
	return nil
}

// recallPayload reads the payload again if it was dropped since the job had succeeded, and the
// result then turned out to be too large. The message is in the queue until it is acknowledged.
func (t *settlement) recallPayload(ctx context.Context) error {
	if t.shed == 0 {
		return nil
	}
	m, err := readFor(ctx, t, "payload", func(ctx context.Context) (*stream.Message, error) {
		return t.store.client.Get(ctx, t.store.names.queueStream(t.place.Queue), t.Seq)
	})
	if errors.Is(err, ErrNotFound) {
		return nil // it stays omitted
	}
	if err == nil {
		t.Payload, t.shed = m.Data, 0
	}
	return err
}

// deadMsgs are the record's forms, from complete to bare: a payload that fills the
// broker's limit leaves no room for what is also in the events, and one that was taken under a
// larger limit leaves none at all.
func (t *settlement) deadMsgs(failures []Failure) []*nats.Msg {
	subject := t.store.names.dead(t.place)
	// Written again by whoever finishes after a crash: one of the two is dropped.
	once := []string{fmt.Sprintf("%s.%s.%s.%s", t.Queue, t.Type, t.ID, t.Life)}
	reason := []string{head(t.Reason, maxReasonText)}
	r := t.Record
	r.LastEvent = t.lastEvent // that of its death, which a life after it follows
	full := nats.Header(r.Header())
	full[stream.HeaderMsgID] = once
	full[headerReason] = reason
	encoded, omitted := encodeFailures(failures)
	full[headerErrors] = []string{encoded}
	if omitted > 0 {
		full[headerErrorsOmitted] = []string{strconv.Itoa(omitted)}
	}
	short := nats.Header{stream.HeaderMsgID: once, headerReason: reason, job.HeaderLife: {t.Life}, headerErrorsOmitted: {strconv.Itoa(len(failures))}}
	if t.origin != "" {
		full[headerSubject] = []string{t.origin}
		short[headerSubject] = full[headerSubject]
	}
	without := func(h nats.Header) *nats.Msg {
		h = maps.Clone(h)
		h[headerPayloadOmitted] = []string{strconv.Itoa(len(t.Payload) + t.shed)}
		return &nats.Msg{Subject: subject, Header: h}
	}
	bare := []*nats.Msg{without(full), without(short)}
	if t.shed > 0 {
		return bare
	}
	return append([]*nats.Msg{
		{Subject: subject, Header: full, Data: t.Payload},
		{Subject: subject, Header: short, Data: t.Payload},
		{Subject: subject, Data: t.Payload},
	}, bare...)
}

func failuresOf(history []Event, life string) (failures []Failure) {
	for _, e := range history {
		if e.Life != life || (e.Error == "" && e.Kind != job.EventLost) {
			continue
		}
		failures = append(failures, Failure{
			Attempt: e.Attempt, Time: e.Time, Node: e.Node,
			Event: string(e.Kind), Error: e.Error, Stack: e.Stack,
		})
	}
	return failures
}

// encodeFailures fits them into one header: without the stacks of all but the last
// if need be, then without the oldest, whose number it returns.
func encodeFailures(failures []Failure) (encoded string, omitted int) {
	for {
		b, err := json.Marshal(failures) // escapes what a header cannot carry
		if err != nil {
			return "[]", omitted + len(failures)
		}
		if len(b) <= maxErrorsInDeadJob || len(failures) == 0 {
			return string(b), omitted
		}
		if !dropStacks(failures[:len(failures)-1]) {
			failures = failures[1:]
			omitted++
		}
	}
}

func dropStacks(failures []Failure) (dropped bool) {
	for i := range failures {
		dropped = dropped || failures[i].Stack != ""
		failures[i].Stack = ""
	}
	return dropped
}

// buried reports whether the dead record of this life is stored.
func (t *settlement) buried(ctx context.Context) (bool, error) {
	return readFor(ctx, t, "dead record", func(ctx context.Context) (bool, error) {
		stream, subject := t.store.names.deadStream(), t.store.names.dead(t.place)
		for from := uint64(1); ; { // other lives of the id may have died since
			m, err := t.store.client.Next(ctx, stream, subject, from)
			if errors.Is(err, ErrNotFound) {
				return false, nil
			}
			if err != nil || m.Header.Get(job.HeaderLife) == t.Life {
				return err == nil, err
			}
			from = m.Seq + 1
		}
	})
}
