package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A BatchError says in one line how many jobs are not enqueued and why the first is not. A
// refusal is never counted among those that may be stored.
func TestBatchErrorText(t *testing.T) {
	lost := errors.New("no answer")
	for _, tt := range []struct {
		errs []error
		want string
	}{
		{[]error{nil, millhand.ErrDuplicate, millhand.ErrNotSent}, "millhand: 2 of 3 jobs were not enqueued, first: millhand: duplicate job"},
		{[]error{fmt.Errorf("%w: no room", millhand.ErrStoreFull), nil}, "millhand: 1 of 2 jobs were not enqueued, first: millhand: store full: no room"},
		{
			[]error{&millhand.QuotaError{Type: "import", Limit: 2, Running: 2}, &millhand.InvalidError{What: "id", Rule: "must not be empty"}},
			"millhand: 2 of 2 jobs were not enqueued, first: import quota reached (2 of 2 running)",
		},
		{[]error{nil, lost, lost}, "millhand: 2 of 3 jobs may not be enqueued, first: no answer"},
		{
			[]error{lost, millhand.ErrNotSent, millhand.ErrStoreFull},
			"millhand: 2 of 3 jobs were not enqueued, and 1 more may not be, first: no answer",
		},
	} {
		err := &millhand.BatchError{Errs: tt.errs}
		if got := err.Error(); got != tt.want {
			t.Errorf("Error() = %q, want %q", got, tt.want)
		}
	}
}

// That one job of a batch was refused says nothing of the others: they may be stored.
func TestMaybeStoredOfABatch(t *testing.T) {
	t.Parallel()
	lost := errors.New("no answer")
	for _, tt := range []struct {
		errs []error
		want bool
	}{
		{[]error{millhand.ErrInvalid, lost}, true},
		{[]error{millhand.ErrInvalid, nil}, true},
		{[]error{millhand.ErrInvalid, millhand.ErrNotSent}, false},
		{[]error{lost}, true},
	} {
		err := fmt.Errorf("import: %w", &millhand.BatchError{Errs: tt.errs})
		if got := millhand.MaybeStored(err); got != tt.want {
			t.Errorf("MaybeStored of %v = %t, want %t", tt.errs, got, tt.want)
		}
	}
}

// Each typed error is the sentinel that its name says, and only that.
func TestTypedErrorsAreTheirSentinels(t *testing.T) {
	sentinels := []error{millhand.ErrInvalid, millhand.ErrDuplicate, millhand.ErrQuotaReached, millhand.ErrFailed}
	for i, err := range []error{&millhand.InvalidError{}, &millhand.DuplicateError{}, &millhand.QuotaError{}, &millhand.FailedError{}} {
		for j, sentinel := range sentinels {
			if got, want := errors.Is(fmt.Errorf("wrapped: %w", err), sentinel), i == j; got != want {
				t.Errorf("errors.Is(%T, %v) = %t", err, sentinel, got)
			}
		}
	}
}

// What is refused says what is at fault, its value and the rule as data, and none of it is
// called an invalid job that is none.
func TestInvalidErrorsAreData(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		c := client(t, nc)
		enqueue := func(opts ...millhand.EnqueueOption) error {
			_, err := c.Enqueue(t.Context(), email{}, opts...)
			return err
		}
		_, namespace := millhand.NewClient(nc, millhand.Config{Namespace: "a.b"})
		_, large := c.Enqueue(t.Context(), millhand.Raw{Name: "email", Payload: make([]byte, millhand.MaxPayload+1)})
		_, nothing := c.Enqueue(t.Context(), nil)
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
		_, ttl := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux, PermitTTL: 1500 * time.Millisecond})
		w, stop := start(t, nc, millhand.WorkerConfig{Mux: mux})
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, tt := range []struct {
			err              error
			what, name, rule string // the rule's beginning
			text             string
		}{
			{enqueue(millhand.WithQueue("a.b")), "queue", "a.b", "only", `queue "a.b": only A-Z a-z 0-9 _ and - are allowed`},
			{enqueue(millhand.WithQueue("retry")), "queue", "retry", "is reserved", `queue "retry": is reserved (as are event, dead,`},
			{enqueue(millhand.WithID("")), "id", "", "must not be empty", "id must not be empty"},
			{
				enqueue(millhand.WithUnique(), millhand.WithID("x")), "id", "x", "WithID gives the id, WithUnique derives it",
				`id "x": WithID gives the id, WithUnique derives it: use one`,
			},
			{enqueue(millhand.WithUniqueFor(time.Second / 2)), "unique for", "500ms", "must be from 1s", "unique for 500ms: must be from 1s to 8784h"},
			{enqueue(millhand.WithUniqueFor(9000 * time.Hour)), "unique for", "9000h0m0s", "must be from 1s", "unique for 9000h0m0s: must be"},
			{enqueue(millhand.WithMaxAttempts(0)), "max attempts", "0", "must be at least 1", "max attempts 0: must be at least 1"},
			{enqueue(millhand.WithMaxAttempts(-1)), "max attempts", "-1", "must be from 1 to", "max attempts -1: must be from 1 to 1000000"},
			{enqueue(millhand.WithTimeout(-1)), "timeout", "-1ns", "must not be negative", "timeout -1ns: must not be negative"},
			{enqueue(millhand.WithMeta("k", "a\nb")), "meta", "k", "a value has no line breaks", `meta "k": a value has no`},
			{millhand.CheckType(""), "type", "", "must not be empty", "type must not be empty"},
			{namespace, "namespace", "a.b", "only", `namespace "a.b": only`},
			{ttl, "permit ttl", "1.5s", "must be whole seconds", "permit ttl 1.5s: must be whole seconds, from 2s to 1h0m0s"},
			{w.Run(t.Context()), "the worker", "", "has run", "the worker has run"},
			{nothing, "arguments", "", "must not be nil", "arguments must not be nil"},
			{large, "payload of 1048577 bytes", "", "is over the limit", "payload of 1048577 bytes is over the limit of 983040 bytes (960 KiB), which"},
		} {
			e, ok := errors.AsType[*millhand.InvalidError](tt.err)
			if !ok || e.What != tt.what || e.Name != tt.name || !strings.HasPrefix(e.Rule, tt.rule) || !errors.Is(tt.err, millhand.ErrInvalid) {
				t.Errorf("error %#v, want an InvalidError of %s %q, %q", tt.err, tt.what, tt.name, tt.rule)
				continue
			}
			if !strings.HasPrefix(tt.err.Error(), "millhand: "+tt.text) {
				t.Errorf("Error() = %q, want %q", tt.err, tt.text)
			}
		}
	})
}

// A value that no job or setting can have is refused wherever it is given: an answer of nothing would
// look as if there were nothing.
func TestUnknownValuesAreRefused(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		ctx := t.Context()
		const reasons = "want exhausted, permanent, expired, malformed, crashed, step or undo"
		dead := millhand.DeadFilter{Reason: "exausted"}
		_, count := c.CountDead(ctx, dead)
		_, purge := c.PurgeDead(ctx, dead)
		_, cancelled := c.CountDead(ctx, millhand.DeadFilter{Reason: millhand.ReasonRequested})
		_, odd := c.CountDead(ctx, millhand.DeadFilter{Type: "a.*"})
		_, running := c.Running(ctx, "*")
		_, trace := c.Enqueue(ctx, email{}, millhand.WithTrace(map[string]string{"trace": "x"}))
		entry := millhand.Cron{Name: "nightly", Schedule: "@daily", Args: email{}}
		overlap, catchUp := entry, entry
		overlap.Overlap, catchUp.CatchUp = "no", "some"
		for name, tt := range map[string]struct {
			err  error
			want string
		}{
			"dead":              {lastError(c.Dead(ctx, dead)), `reason "exausted": ` + reasons},
			"count":             {count, reasons},
			"purge":             {purge, reasons},
			"requeue":           {lastError(c.RequeueDead(ctx, dead, millhand.RequeueConfig{})), reasons},
			"of a cancelled":    {cancelled, `reason "requested": is one of a cancelled job: ` + reasons},
			"type of the dead":  {odd, "only"},
			"state":             {lastError(c.Jobs(ctx, millhand.JobFilter{States: []millhand.State{"redy"}})), "want scheduled, retrying, ready or running"},
			"state of a cancel": {lastError(c.CancelMany(ctx, millhand.JobFilter{States: []millhand.State{millhand.Dead}})), "of a job that has ended"},
			"running type":      {running, "only"},
			"trace":             {trace, "only traceparent and tracestate"},
			"overlap":           {overlap.Check(), "want skip or allow"},
			"catch-up":          {catchUp.Check(), "want skip, one or all"},
			"entry":             {c.DeleteCron(ctx, "*"), "only"},
			"pause":             {c.Pause(ctx, "*"), "only"},
			"resume":            {c.Resume(ctx, "*"), "only"},
			"quota":             {c.SetQuota(ctx, millhand.Quota{Type: "*", Limit: 1}), "only"},
			"reset of a quota":  {c.ResetQuota(ctx, millhand.Quota{Key: "k", Types: []string{"*"}}), "only"},
		} {
			if !errors.Is(tt.err, millhand.ErrInvalid) || !strings.Contains(tt.err.Error(), tt.want) {
				t.Errorf("%s: %v, want ErrInvalid with %q", name, tt.err, tt.want)
			}
		}
	})
}

// lastError is the error that a sequence ends with.
func lastError[T any](seq iter.Seq2[T, error]) (last error) {
	for _, err := range seq {
		last = err
	}
	return last
}
