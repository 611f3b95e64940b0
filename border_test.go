package millhand_test

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// foreignRefs are refs that name no job, as those that a service takes from a URL may.
func foreignRefs() []millhand.Ref {
	refs := []millhand.Ref{{}, {Type: "email"}, {ID: "a"}, {Type: "email", ID: "a", Queue: "event"}}
	for _, s := range []string{"*", ">", "a.b", "a b", "a\r\nPUB x 0", "é", "\x00", ".", "..", "$JS", strings.Repeat("x", 129), strings.Repeat("x", 5000), strings.Repeat("x", 100_000)} {
		refs = append(refs, millhand.Ref{Type: "email", ID: s}, millhand.Ref{Type: s, ID: "a"}, millhand.Ref{Type: "email", ID: "a", Queue: s})
	}
	return refs
}

// A ref that names no job is refused before it reaches a subject: there, a star is every job,
// and a long one ends the connection.
func TestRefsAreCheckedAtTheBorder(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		millhand.HandleResult(mux, func(context.Context, *millhand.Job[email]) (string, error) { return "secret", nil })
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		nc := s.Connect(t)
		c := client(t, nc)
		succeeds(t, c, email{})
		sent := nc.Stats().OutMsgs
		for _, ref := range foreignRefs() {
			if info, err := c.Get(t.Context(), ref); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("Get(%.60v) = %+v, %v", ref, info, err)
			}
			if info, err := c.Await(t.Context(), ref); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("Await(%.60v) = %+v, %v", ref, info, err)
			}
			if job, err := c.FindRunning(t.Context(), ref); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("Owner(%.60v) = %+v, %v", ref, job, err)
			}
			if ref.Type != "" && ref.Type != "email" {
				if _, err := c.Running(t.Context(), ref.Type); !errors.Is(err, millhand.ErrInvalid) {
					t.Errorf("Running(%.60q): %v", ref.Type, err)
				}
			}
			if ref.Queue == "" {
				continue
			}
			for what, err := range map[string]error{
				"Pause":      c.Pause(t.Context(), ref.Queue),
				"Resume":     c.Resume(t.Context(), ref.Queue),
				"ResetQuota": c.ResetQuota(t.Context(), millhand.Quota{Queue: ref.Queue}),
				"SetQuota":   c.SetQuota(t.Context(), millhand.Quota{Queue: ref.Queue, Limit: 1}),
			} {
				if !errors.Is(err, millhand.ErrInvalid) {
					t.Errorf("%s of %.60q: %v", what, ref.Queue, err)
				}
			}
		}
		if n := nc.Stats().OutMsgs - sent; n != 0 || nc.Status() != nats.CONNECTED {
			t.Errorf("%d messages were sent, the connection is %v", n, nc.Status())
		}
	})
}

type pointed struct{ N int }

func (p pointed) Type() string { return "pointed" }

// What is no job, no worker and no client is refused, with a word on why.
func TestMisuseIsRefused(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		c := client(t, nc)
		enqueue := func(args millhand.Args, opts ...millhand.EnqueueOption) error {
			_, err := c.Enqueue(t.Context(), args, opts...)
			return err
		}
		many := func(batch ...millhand.Request) error {
			_, err := c.EnqueueMany(t.Context(), batch)
			return err
		}
		worker := func(spoil func(*millhand.WorkerConfig)) error {
			mux := millhand.NewMux()
			millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
			cfg := millhand.WorkerConfig{Mux: mux}
			spoil(&cfg)
			_, err := millhand.NewWorker(nc, cfg)
			return err
		}
		backoff := func(b millhand.Backoff) error {
			return worker(func(c *millhand.WorkerConfig) {
				c.Mux.HandleFunc("backoff", succeed, millhand.TypeConfig{Backoff: b})
			})
		}
		configured := func(c ...millhand.TypeConfig) error {
			return worker(func(w *millhand.WorkerConfig) { w.Mux.HandleFunc("configured", succeed, c...) })
		}
		_, noConnection := millhand.NewClient(nil, millhand.Config{})
		for what, tt := range map[string]struct {
			err  error
			text string
		}{
			"nil args":             {enqueue(nil), "nil"},
			"nil pointer":          {enqueue((*pointed)(nil)), "nil"},
			"nil option":           {enqueue(email{}, millhand.WithQueue("q"), nil), "option 2 of 2 is nil"},
			"zero raw":             {enqueue(millhand.Raw{}), "type"},
			"empty id":             {enqueue(email{}, millhand.WithID("")), "id"},
			"wildcard id":          {enqueue(email{}, millhand.WithID("*")), "id"},
			"empty queue":          {enqueue(email{}, millhand.WithQueue("")), "queue"},
			"reserved queue":       {enqueue(email{}, millhand.WithQueue("ready")), "reserved"},
			"no attempts":          {enqueue(email{}, millhand.WithMaxAttempts(0)), "max attempts 0"},
			"fewer than none":      {enqueue(email{}, millhand.WithMaxAttempts(-1)), "max attempts -1"},
			"no time":              {enqueue(email{}, millhand.WithTimeout(0)), "timeout 0s"},
			"zero request":         {many(millhand.Request{Args: email{}}, millhand.Request{}), "1 of 2"},
			"nil option of many":   {many(millhand.Request{Args: email{}, Options: []millhand.EnqueueOption{nil}}), "option 1 of 1"},
			"no connection":        {noConnection, "connection must not be nil"},
			"no mux":               {worker(func(c *millhand.WorkerConfig) { c.Mux = nil }), "mux"},
			"zero mux":             {worker(func(c *millhand.WorkerConfig) { c.Mux = new(millhand.Mux) }), "mux"},
			"nil func":             {worker(func(c *millhand.WorkerConfig) { c.Mux.HandleFunc("f", nil) }), "handler of type f is nil"},
			"nil handler":          {worker(func(c *millhand.WorkerConfig) { millhand.Handle[pointed](c.Mux, nil) }), "handler of type pointed is nil"},
			"nil result handler":   {worker(func(c *millhand.WorkerConfig) { millhand.HandleResult[pointed, int](c.Mux, nil) }), "is nil"},
			"nanoseconds":          {worker(func(c *millhand.WorkerConfig) { c.AckWait = 30 }), "at least 1s"},
			"nearly a second":      {worker(func(c *millhand.WorkerConfig) { c.AckWait = time.Second - 1 }), "at least 1s"},
			"permits of a moment":  {worker(func(c *millhand.WorkerConfig) { c.PermitTTL = 10 }), ""},
			"reserved queue of it": {worker(func(c *millhand.WorkerConfig) { c.Queues = []millhand.Queue{{Name: "later"}} }), "reserved"},
			"nameless queue":       {worker(func(c *millhand.WorkerConfig) { c.Queues = []millhand.Queue{{}} }), "queue"},
			"weightless queue":     {worker(func(c *millhand.WorkerConfig) { c.Queues = []millhand.Queue{{Name: "a", Weight: -1}} }), "weight -1"},
			"queue less than none": {worker(func(c *millhand.WorkerConfig) { c.Queues = []millhand.Queue{{Name: "a", Concurrency: -1}} }), "concurrency -1"},
			"queue named twice":    {worker(func(c *millhand.WorkerConfig) { c.Queues = []millhand.Queue{{Name: "a"}, {Name: "a", Weight: 2}} }), "named twice"},
			"two configurations":   {configured(millhand.TypeConfig{}, millhand.TypeConfig{}), "configurations 2"},
			"time less than none":  {configured(millhand.TypeConfig{Timeout: -1}), "timeout -1ns"},
			"runs less than none":  {configured(millhand.TypeConfig{MaxAttempts: -1}), "max attempts -1"},
			"quota of a queue":     {configured(millhand.TypeConfig{Quotas: []millhand.Quota{{Queue: "a", Limit: 1}}}), "of this type"},
			"quota of another":     {configured(millhand.TypeConfig{Quotas: []millhand.Quota{{Type: "email", Limit: 1}}}), "of this type"},
			"nil middleware":       {worker(func(c *millhand.WorkerConfig) { c.Mux.Use(nil) }), "middleware is nil"},
			"middleware of none": {worker(func(c *millhand.WorkerConfig) {
				c.Mux.Use(func(millhand.HandlerFunc) millhand.HandlerFunc { return nil })
			}), "middleware 1 of 1"},
			"heavy queue":         {worker(func(c *millhand.WorkerConfig) { c.Queues = []millhand.Queue{{Name: "a", Weight: math.MaxInt}} }), "weight"},
			"too many at once":    {worker(func(c *millhand.WorkerConfig) { c.Concurrency = math.MaxInt }), "concurrency"},
			"domain":              {worker(func(c *millhand.WorkerConfig) { c.Domain = "a.>" }), "domain"},
			"much jitter":         {backoff(millhand.Backoff{Jitter: 5}), "jitter"},
			"jitter of NaN":       {backoff(millhand.Backoff{Jitter: math.NaN()}), "jitter"},
			"shrinking":           {backoff(millhand.Backoff{Factor: 0.1}), "factor"},
			"growing without end": {backoff(millhand.Backoff{Factor: math.Inf(1)}), "factor"},
			"first above most":    {backoff(millhand.Backoff{Initial: time.Hour, Max: time.Second}), "initial"},
			"negative first":      {backoff(millhand.Backoff{Initial: -1}), "initial"},
		} {
			if !errors.Is(tt.err, millhand.ErrInvalid) || !strings.Contains(tt.err.Error(), tt.text) {
				t.Errorf("%s: error %v, want an ErrInvalid with %q", what, tt.err, tt.text)
			}
		}
		if err := backoff(millhand.Backoff{Max: time.Millisecond, Jitter: -1}); err != nil {
			t.Errorf("a lower max alone is for all delays: %v", err)
		}
		if _, err := millhand.NewWorker(nil, millhand.WorkerConfig{}); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("NewWorker(nil) = %v", err)
		}
	})
}

// A zero mux takes handlers, and a handler may be of a pointer to arguments.
func TestHandlerOfAPointer(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var mux millhand.Mux
		millhand.HandleResult(&mux, func(_ context.Context, j *millhand.Job[*pointed]) (int, error) { return j.Args.N, nil })
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: &mux})
		c := client(t, s.Connect(t))
		for want, args := range []millhand.Args{millhand.Raw{Name: "pointed", Payload: []byte("null")}, pointed{N: 1}, &pointed{N: 2}} {
			ref := succeeds(t, c, args)
			if got, err := millhand.AwaitResult[int](t.Context(), c, ref); err != nil || got != want {
				t.Errorf("result of %+v = %d, %v, want %d", args, got, err, want)
			}
		}
	})
}

// Raw bytes have no type of their own to be handled by.
func TestHandlerOfRaw(t *testing.T) {
	t.Parallel()
	for name, handle := range map[string]func(*millhand.Mux){
		"Raw": func(m *millhand.Mux) {
			millhand.Handle(m, func(context.Context, *millhand.Job[millhand.Raw]) error { return nil })
		},
		"pointer": func(m *millhand.Mux) {
			millhand.Handle(m, func(context.Context, *millhand.Job[*millhand.Raw]) error { return nil })
		},
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, "register its handler with HandleFunc") {
					t.Errorf("%s: panic %q, want one that names HandleFunc", name, text)
				}
			}()
			handle(millhand.NewMux())
		}()
	}
}

func TestWorkerRunsOnce(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
		w, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		time.Sleep(time.Second)
		if err := w.Run(t.Context()); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("Run while it runs: %v", err)
		}
		if err := stop(); err != nil {
			t.Errorf("the first run: %v", err)
		}
		if err := w.Run(t.Context()); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("Run after it ran: %v", err)
		}
	})
}

// With an ended context nothing is sent, and that is what callers are told.
func TestEndedContextStoresNothing(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		c := client(t, nc)
		if _, err := c.Enqueue(t.Context(), email{}); err != nil { // makes the streams
			t.Fatal(err)
		}
		why := errors.New("the caller went home")
		ended, end := context.WithCancelCause(t.Context())
		end(why)
		for range 100 {
			if _, err := c.Enqueue(ended, email{}); !errors.Is(err, millhand.ErrNotSent) || !errors.Is(err, why) {
				t.Fatalf("Enqueue: %v", err)
			}
		}
		_, err := c.EnqueueMany(ended, emails(20_000))
		batch, ok := errors.AsType[*millhand.BatchError](err)
		if !ok || len(batch.Unwrap()) != 20_000 || !errors.Is(err, millhand.ErrNotSent) {
			t.Fatalf("EnqueueMany: %v", err)
		}
		synctest.Wait()
		if n := messages(t, nc, "millhand-queue-default"); n != 2 {
			t.Errorf("the queue holds %d messages, want the pin and the first job", n)
		}
	})
}

func emails(n int) []millhand.Request {
	batch := make([]millhand.Request, n)
	for i := range batch {
		batch[i].Args = email{To: strconv.Itoa(i)}
	}
	return batch
}

// A context that ends in the middle ends the sending: what was stored and what was not sent is
// told apart, and no job is both.
func TestContextEndsAmongMany(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		link := s.Link()
		nc := link.Connect(t)
		c := client(t, nc)
		if _, err := c.Enqueue(t.Context(), email{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sent := 0
		link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "millhand.default.ready.") {
				if sent++; sent == 7000 {
					cancel()
				}
			}
			return natstest.Pass
		})
		const jobs = 20_000
		refs, err := c.EnqueueMany(ctx, emails(jobs))
		batch, ok := errors.AsType[*millhand.BatchError](err)
		if !ok {
			t.Fatalf("EnqueueMany: %v", err)
		}
		stored, notSent, unsure := 0, 0, 0
		for i, err := range batch.Errs {
			switch {
			case err == nil && refs[i].ID != "":
				stored++
			case errors.Is(err, millhand.ErrNotSent):
				notSent++
			default:
				unsure++
			}
		}
		time.Sleep(time.Second)
		in := int(messages(t, nc, "millhand-queue-default")) - 2
		t.Logf("%d stored, %d not sent, %d unsure; %d in the queue: %v", stored, notSent, unsure, in, err)
		if in < stored || in > stored+unsure || notSent == 0 || unsure > 0 {
			t.Errorf("%d stored, %d not sent, %d unsure; %d in the queue", stored, notSent, unsure, in)
		}
	})
}
