package millhand_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// ends are jobs that end in each way, what is done to them, and what is said of their ends.
var ends = []struct {
	id, typ string
	header  nats.Header // of a plain publish
	options []millhand.EnqueueOption
	cancel  bool

	attempt  int
	failures int
	text     string
}{
	{id: "expired", typ: "nobody", options: []millhand.EnqueueOption{millhand.WithExpires(time.Second)}, failures: 1, text: "job expired is dead (expired): not started within 1s"},
	{id: "retried", typ: "fail", options: []millhand.EnqueueOption{millhand.WithMaxAttempts(3)}, attempt: 3, failures: 3, text: "job retried is dead (exhausted) after attempt 3: boom"},
	{id: "hopeless", typ: "give-up", attempt: 1, failures: 1, text: "job hopeless is dead (permanent) after attempt 1: no such customer"},
	{id: "odd-header", typ: "fail", header: nats.Header{"Millhand-Timeout": {"soon"}}, failures: 1, text: "job odd-header is dead (malformed): header Millhand-Timeout:"},
	{id: "odd-payload", typ: "email", header: nats.Header{}, attempt: 1, failures: 1, text: "job odd-payload is dead (malformed) after attempt 1: "},
	{id: "waiting", typ: "nobody", cancel: true, text: "job cancelled"},
	{id: "between", typ: "fail", options: []millhand.EnqueueOption{millhand.WithMaxAttempts(3)}, cancel: true, attempt: 1, failures: 1, text: "job cancelled"},
	{id: "fine", typ: "flaky", attempt: 2, failures: 1},
	{id: "vanished", typ: "hang", header: nats.Header{"Millhand-Crashes": {"5"}}, failures: 1, text: "job vanished is dead (crashed): its worker vanished 6 times while it ran"},
}

// What is said of an end is true for each way to end: no attempt is named that never was. Whoever
// awaits it and whoever looks later are told the same, but for the failures before the last.
func TestEndsAreToldAsTheyWere(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		for range 2 { // one will vanish
			link := s.Link()
			mux := millhand.NewMux()
			mux.HandleFunc("fail", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
				return nil, millhand.RetryAfter(10*time.Second, errors.New("boom"))
			})
			mux.HandleFunc("give-up", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
				return nil, millhand.Permanent(errors.New("no such customer"))
			})
			mux.HandleFunc("flaky", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
				if j.Attempt == 1 {
					return nil, errors.New("not yet")
				}
				return []byte("1"), nil
			})
			mux.HandleFunc("hang", func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) {
				link.Crash()
				<-ctx.Done()
				return nil, context.Cause(ctx)
			})
			millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
			start(t, link.Connect(t), millhand.WorkerConfig{Mux: mux, AckWait: millhand.MinAckWait})
		}
		nc := s.Connect(t)
		for _, tt := range ends {
			ref := millhand.Ref{ID: tt.id, Type: tt.typ}
			var err error
			if tt.header != nil {
				time.Sleep(time.Second)
				_, err = nc.RequestMsgWithContext(t.Context(), &nats.Msg{Subject: "millhand.default.ready." + tt.typ + "." + tt.id, Header: tt.header, Data: []byte("x")})
			} else {
				ref, err = c.Enqueue(t.Context(), millhand.Raw{Name: tt.typ}, append(tt.options, millhand.WithID(tt.id))...)
			}
			if err == nil && tt.cancel {
				time.Sleep(time.Second)
				_, err = c.Cancel(t.Context(), ref)
			}
			if err != nil {
				t.Fatalf("%s: %v", tt.id, err)
			}
			awaited, err := c.Await(t.Context(), ref)
			if text := errorText(err); !strings.HasPrefix(text, tt.text) || (tt.text == "") != (text == "") {
				t.Errorf("%s: %q, want %q", tt.id, text, tt.text)
			}
			got, err := c.Get(t.Context(), ref)
			if err != nil || got.Attempt != tt.attempt || len(got.Failures) != tt.failures {
				t.Errorf("%s: attempt %d, %d failures, %v; want %d and %d", tt.id, got.Attempt, len(got.Failures), err, tt.attempt, tt.failures)
			}
			if failed, ok := errors.AsType[*millhand.FailedError](err); ok && (failed.Attempts != got.Attempt || failed.Message != got.LastError()) {
				t.Errorf("%s: %+v, and %+v", tt.id, failed, got)
			}
			last := millhand.Info{Failures: awaited.Failures}
			if len(last.Failures) > 0 && last.LastError() != got.LastError() {
				t.Errorf("%s: died of %q, and of %q", tt.id, last.LastError(), got.LastError())
			}
			awaited.Failures, got.Failures = nil, nil
			if a, b := asJSON(t, awaited), asJSON(t, got); a != b {
				t.Errorf("%s: Await says %s, Get %s", tt.id, a, b)
			}
		}
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimPrefix(err.Error(), "millhand: ")
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
