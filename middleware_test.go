package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// reversed is a cipher that a test can read.
func reversed(b []byte) []byte {
	c := slices.Clone(b)
	slices.Reverse(c)
	return c
}

type contextKey struct{}

// The first middleware is the outermost, whatever was registered before. It can change the context, the
// payload before it is decoded, and the result.
func TestMiddlewareWrapsHandlers(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var steps []string
		named := func(name string) millhand.Middleware {
			return func(next millhand.HandlerFunc) millhand.HandlerFunc {
				return func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
					steps = append(steps, fmt.Sprintf("%s in: %s %s", name, j.Type, j.Args.Payload))
					result, err := next(context.WithValue(ctx, contextKey{}, name), j)
					steps = append(steps, fmt.Sprintf("%s out: %s %v", name, result, err))
					return result, err
				}
			}
		}
		cipher := func(next millhand.HandlerFunc) millhand.HandlerFunc {
			return func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
				j.Args.Payload = reversed(j.Args.Payload)
				j.Meta["by"] = "cipher"
				result, err := next(ctx, j)
				return reversed(result), err
			}
		}
		mux := millhand.NewMux()
		mux.Use(named("outer"))
		millhand.HandleResult(mux, func(ctx context.Context, j *millhand.Job[email]) (string, error) {
			steps = append(steps, fmt.Sprintf("handler: %s %s %v %v", j.Args.To, j.ID, j.Meta, ctx.Value(contextKey{})))
			return "sent", nil
		})
		mux.Use(cipher, named("inner"))
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "email", Payload: reversed([]byte(`{"to":"a"}`))}, millhand.WithID("1"))
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.Await(t.Context(), ref)
		if err != nil || string(info.Output()) != `"tnes"` {
			t.Errorf("result %s, %v", info.Output(), err)
		}
		want := []string{
			`outer in: email }"a":"ot"{`, `inner in: email {"to":"a"}`, "handler: a 1 map[by:cipher] inner",
			`inner out: "sent" <nil>`, `outer out: "tnes" <nil>`,
		}
		if !slices.Equal(steps, want) {
			t.Errorf("steps:\n%s\nwant:\n%s", strings.Join(steps, "\n"), strings.Join(want, "\n"))
		}
	})
}

// Middleware sees how the handler failed, a panic included, and decides what its error means. Its own panic
// ends one attempt.
func TestMiddlewareSeesErrors(t *testing.T) {
	errRefused := errors.New("refused")
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var mu sync.Mutex
		seen := make(map[string]error)
		mux := millhand.NewMux()
		mux.Use(func(next millhand.HandlerFunc) millhand.HandlerFunc {
			return func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
				if j.ID == "broken" {
					panic("middleware")
				}
				result, err := next(ctx, j)
				mu.Lock()
				defer mu.Unlock()
				seen[j.ID] = err
				if errors.Is(err, errRefused) {
					err = millhand.Permanent(err)
				}
				return result, err
			}
		})
		millhand.Handle(mux, func(_ context.Context, j *millhand.Job[email]) error {
			switch j.ID {
			case "panics":
				panic("handler")
			case "refused":
				return fmt.Errorf("server: %w", errRefused)
			}
			return nil
		}, millhand.TypeConfig{MaxAttempts: 2, Backoff: millhand.Backoff{Initial: time.Second, Jitter: -1}})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 1})
		c := client(t, s.Connect(t))
		for id, want := range map[string]struct {
			payload, err string
			attempts     int
			reason       string
		}{
			"panics":    {`{}`, "panic: handler", 2, "exhausted"},
			"broken":    {`{}`, "panic: middleware", 2, "exhausted"},
			"refused":   {`{}`, "server: refused", 1, "permanent"},
			"malformed": {`{`, "payload: ", 1, "malformed"},
		} {
			ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "email", Payload: []byte(want.payload)}, millhand.WithID(id))
			if err != nil {
				t.Fatal(err)
			}
			info, err := c.Await(t.Context(), ref)
			failed, ok := errors.AsType[*millhand.FailedError](err)
			if !ok || failed.Attempts != want.attempts || string(failed.Reason) != want.reason || !strings.HasPrefix(failed.Message, want.err) {
				t.Errorf("%s ended with %v, want %+v", id, err, want)
			}
			if strings.HasPrefix(want.err, "panic") && !strings.Contains(info.Failures[0].Stack, "middleware_test.go") {
				t.Errorf("%s: the stack does not show where it panicked:\n%s", id, info.Failures[0].Stack)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if p, ok := errors.AsType[*millhand.PanicError](seen["panics"]); !ok || p.Value != "handler" {
			t.Errorf("the middleware saw %v, want a PanicError", seen["panics"])
		}
		if seen["malformed"] == nil || seen["refused"] == nil {
			t.Errorf("the middleware saw %v", seen)
		}
	})
}

// What middleware is told to follow from an error is what does follow: the events say the same.
func TestMiddlewareKnowsTheOutcome(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var mu sync.Mutex
		told := make(map[string][]millhand.EventKind)
		mux := millhand.NewMux()
		mux.Use(func(next millhand.HandlerFunc) millhand.HandlerFunc {
			return func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
				result, err := next(ctx, j)
				mu.Lock()
				defer mu.Unlock()
				told[j.ID] = append(told[j.ID], j.Outcome(ctx, err))
				return result, err
			}
		})
		errAny := errors.New("any")
		before := make(map[string]int)
		millhand.Handle(mux, func(ctx context.Context, j *millhand.Job[email]) error {
			mu.Lock()
			before[j.ID]++
			first := before[j.ID] == 1
			mu.Unlock()
			switch {
			case j.ID == "permanent":
				return millhand.Permanent(errAny)
			case j.ID == "times-out":
				<-ctx.Done()
				return ctx.Err()
			case j.ID == "ignores":
				time.Sleep(time.Minute)
				return nil
			case j.ID == "panics":
				panic("handler")
			case first && j.ID == "snoozes":
				return millhand.Snooze(time.Second)
			case first && j.ID == "hands-back":
				return millhand.HandBack(errAny)
			case first && j.ID == "later":
				return fmt.Errorf("wrapped: %w", millhand.RetryAfter(time.Second, errAny))
			}
			return nil
		}, millhand.TypeConfig{MaxAttempts: 2, Timeout: 10 * time.Second})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		begin := time.Now()
		want := map[string][]millhand.EventKind{
			"succeeds":   {millhand.EventSucceeded},
			"permanent":  {millhand.EventDead},
			"times-out":  {millhand.EventRetrying, millhand.EventDead},
			"ignores":    {"", ""},
			"panics":     {millhand.EventRetrying, millhand.EventDead},
			"snoozes":    {millhand.EventSnoozed, millhand.EventSucceeded},
			"hands-back": {millhand.EventHandedBack, millhand.EventSucceeded},
			"later":      {millhand.EventRetrying, millhand.EventSucceeded},
			"malformed":  {millhand.EventDead},
		}
		for id := range want {
			payload := "{}"
			if id == "malformed" {
				payload = "{"
			}
			if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "email", Payload: []byte(payload)}, millhand.WithID(id)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Minute)
		happened := make(map[string][]millhand.EventKind)
		left := len(want)
		for e, err := range c.Events(t.Context(), begin) {
			if err != nil {
				t.Fatal(err)
			}
			if happened[e.ID] = append(happened[e.ID], e.Kind); e.State.Final() {
				left--
			}
			if left == 0 {
				break
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(want, told); diff != "" {
			t.Error("what middleware was told:", diff)
		}
		want["ignores"] = []millhand.EventKind{millhand.EventRetrying, millhand.EventDead}
		if diff := cmp.Diff(want, happened); diff != "" {
			t.Error("what happened:", diff)
		}
	})
}

// What middleware does to a payload in place is for this run alone: the next attempt has the job as it was enqueued.
func TestMiddlewareHasItsOwnPayload(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var payloads []string
		mux := millhand.NewMux()
		mux.Use(func(next millhand.HandlerFunc) millhand.HandlerFunc {
			return func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
				payloads = append(payloads, fmt.Sprintf("%s %v", j.Args.Payload, j.Meta))
				clear(j.Args.Payload)
				j.Meta["a"] = "2"
				return next(ctx, j)
			}
		})
		mux.HandleFunc("work", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			if j.Attempt < 3 {
				return nil, millhand.RetryAfter(time.Second, errors.New("not yet"))
			}
			return nil, nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "work", Payload: []byte("hello")}, millhand.WithMeta("a", "1"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await(t.Context(), ref); err != nil {
			t.Error(err)
		}
		if want := []string{"hello map[a:1]", "hello map[a:1]", "hello map[a:1]"}; !slices.Equal(payloads, want) {
			t.Errorf("the runs began with %q, want %q", payloads, want)
		}
	})
}

// Whether one job is enqueued or many, each passes through the middleware, and what that changes is stored.
func TestEnqueueMiddlewareChangesJobs(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var mu sync.Mutex
		ran := make(map[string]string)
		mux := millhand.NewMux()
		mux.HandleFunc("renamed", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			ran[j.ID] = fmt.Sprintf("%s %s %v %v of %d", j.Queue, j.Args.Payload, j.Meta, j.Trace, j.MaxAttempts)
			return nil, nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Queues: []millhand.Queue{{Name: "other"}}})
		c := client(t, s.Connect(t))
		batches := []int{}
		c.Use(func(next millhand.EnqueueFunc) millhand.EnqueueFunc {
			return func(ctx context.Context, jobs []*millhand.Draft) error {
				batches = append(batches, len(jobs))
				for _, d := range jobs {
					d.ID, d.Type, d.Queue, d.MaxAttempts = strings.ToUpper(d.ID), "renamed", "other", 7
					slices.Reverse(d.Payload)
					d.Meta["added"] = "yes"
					d.Trace["traceparent"] = "00-1-2-01"
				}
				return next(ctx, jobs)
			}
		})
		payload := []byte("olleh")
		args := millhand.Raw{Name: "work", Payload: payload}
		one, err := c.Enqueue(t.Context(), args, millhand.WithID("a"), millhand.WithMeta("given", "too"))
		if err != nil {
			t.Fatal(err)
		}
		many, err := c.EnqueueMany(t.Context(), []millhand.Request{
			{Args: args, Options: []millhand.EnqueueOption{millhand.WithID("b")}},
			{Args: args, Options: []millhand.EnqueueOption{millhand.WithID("c"), millhand.WithTrace(map[string]string{"tracestate": "x=1"})}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if string(payload) != "olleh" {
			t.Errorf("the caller's payload is now %s", payload)
		}
		for _, ref := range append(many, one) {
			if info, err := c.Await(t.Context(), ref); err != nil || ref.Queue != "other" || ref.Type != "renamed" {
				t.Errorf("Await(%+v) = %+v, %v", ref, info, err)
			}
		}
		want := map[string]string{
			"A": "other hello map[added:yes given:too] map[traceparent:00-1-2-01] of 7",
			"B": "other hello map[added:yes] map[traceparent:00-1-2-01] of 7",
			"C": "other hello map[added:yes] map[traceparent:00-1-2-01 tracestate:x=1] of 7",
		}
		mu.Lock()
		defer mu.Unlock()
		if !maps.Equal(ran, want) || !slices.Equal(batches, []int{1, 2}) {
			t.Errorf("in batches of %v ran %q, want %q", batches, ran, want)
		}
	})
}

// What the outermost middleware returns is what the caller gets, but a job that was not stored is no success.
func TestEnqueueMiddlewareDecidesAboutErrors(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		errLimit := errors.New("limit of the tenant")
		c := client(t, s.Connect(t))
		var order []string
		note := func(name string) millhand.EnqueueMiddleware {
			return func(next millhand.EnqueueFunc) millhand.EnqueueFunc {
				return func(ctx context.Context, jobs []*millhand.Draft) error {
					order = append(order, name)
					return next(ctx, jobs)
				}
			}
		}
		c.Use(note("first"))
		c.Use(note("second"), func(next millhand.EnqueueFunc) millhand.EnqueueFunc {
			return func(ctx context.Context, jobs []*millhand.Draft) error {
				var kept []*millhand.Draft
				for _, d := range jobs {
					switch d.ID {
					case "refused":
						return errLimit
					case "foreign":
						return next(ctx, []*millhand.Draft{{ID: "x", Type: "work", Queue: "default"}})
					case "bad":
						d.Meta["no key"] = "x"
					case "badtrace":
						d.Trace["baggage"] = "x"
					}
					if d.ID != "kept" {
						kept = append(kept, d)
					}
				}
				err := next(ctx, kept)
				if errors.Is(err, millhand.ErrDuplicate) {
					return nil
				}
				return err
			}
		})
		many := func(ids ...string) []error {
			batch := make([]millhand.Request, len(ids))
			for i, id := range ids {
				batch[i] = millhand.Request{Args: millhand.Raw{Name: "work"}, Options: []millhand.EnqueueOption{millhand.WithID(id)}}
			}
			_, err := c.EnqueueMany(t.Context(), batch)
			if failed, ok := errors.AsType[*millhand.BatchError](err); ok {
				return failed.Errs
			}
			return make([]error, len(ids))
		}
		for _, tt := range []struct {
			ids  []string
			errs []error
		}{
			{[]string{"a"}, []error{nil}},
			{[]string{"a"}, []error{nil}}, // a duplicate, which the middleware forgives
			{[]string{"kept"}, []error{millhand.ErrNotSent}},
			{[]string{"b", "kept", "c"}, []error{nil, millhand.ErrNotSent, nil}},
			{[]string{"refused"}, []error{errLimit}},
			{[]string{"d", "refused"}, []error{errLimit, errLimit}},
			{[]string{"bad"}, []error{millhand.ErrInvalid}},
			{[]string{"e", "bad"}, []error{nil, millhand.ErrInvalid}},
			{[]string{"badtrace"}, []error{millhand.ErrInvalid}},
			{[]string{"foreign"}, []error{millhand.ErrInvalid}},
			{[]string{"f", ""}, []error{nil, millhand.ErrInvalid}}, // which never comes to the middleware
			{[]string{"g", "kept", "bad"}, []error{nil, millhand.ErrNotSent, millhand.ErrInvalid}},
		} {
			for i, err := range many(tt.ids...) {
				if !errors.Is(err, tt.errs[i]) {
					t.Errorf("EnqueueMany(%q): error %d is %v, want %v", tt.ids, i, err, tt.errs[i])
				}
			}
			if len(tt.ids) > 1 {
				continue
			}
			ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "work"}, millhand.WithID(tt.ids[0]))
			if !errors.Is(err, tt.errs[0]) || (err == nil) != (ref.ID != "") {
				t.Errorf("Enqueue(%q) = %v, %v, want %v", tt.ids[0], ref, err, tt.errs[0])
			}
		}
		if !slices.Equal(order[:2], []string{"first", "second"}) {
			t.Errorf("order = %v", order[:2])
		}
	})
}

// Where no job is left to be stored, none comes to the middleware, which may look at the first.
func TestEnqueueMiddlewareComesWithJobs(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		c.Use(func(next millhand.EnqueueFunc) millhand.EnqueueFunc {
			return func(ctx context.Context, jobs []*millhand.Draft) error {
				jobs[0].Meta["tenant"] = "acme"
				return next(ctx, jobs)
			}
		})
		if refs, err := c.EnqueueMany(t.Context(), nil); len(refs) != 0 || err != nil {
			t.Errorf("EnqueueMany(nil) = %v, %v", refs, err)
		}
		refs, err := c.EnqueueMany(t.Context(), []millhand.Request{{Args: millhand.Raw{Name: "no type"}}})
		if !errors.Is(err, millhand.ErrInvalid) || refs[0] != (millhand.Ref{}) {
			t.Errorf("EnqueueMany of one invalid job = %v, %v", refs, err)
		}
	})
}

// What traces a job is there at every attempt, and no other key travels as a trace.
func TestTraceReachesTheHandler(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var traces []map[string]string
		mux := millhand.NewMux()
		millhand.Handle(mux, func(_ context.Context, j *millhand.Job[email]) error {
			traces = append(traces, maps.Clone(j.Trace))
			clear(j.Trace)
			if j.Attempt == 1 {
				return millhand.RetryAfter(time.Second, errors.New("not yet"))
			}
			return nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		trace := map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1"}
		ref, err := c.Enqueue(t.Context(), email{}, millhand.WithTrace(trace))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if len(traces) != 2 || !maps.Equal(traces[0], trace) || !maps.Equal(traces[1], trace) {
			t.Errorf("the runs had %v, want %v twice", traces, trace)
		}
		for what, trace := range map[string]map[string]string{
			"only traceparent": {"baggage": "a=1"},
			"line breaks":      {"traceparent": "a\nb"},
			"at most":          {"tracestate": strings.Repeat("a", 10<<10)},
		} {
			if _, err := c.Enqueue(t.Context(), email{}, millhand.WithTrace(trace)); !errors.Is(err, millhand.ErrInvalid) || !strings.Contains(err.Error(), what) {
				t.Errorf("Enqueue = %v, want an ErrInvalid with %q", err, what)
			}
		}
		if _, err := c.Enqueue(t.Context(), email{}, millhand.WithTrace(nil)); err != nil {
			t.Errorf("no trace: %v", err)
		}
	})
}
