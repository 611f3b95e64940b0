package tracing_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/tracing"
)

// A scene is a namespace whose client and workers are traced.
type scene struct {
	*natstest.Server
	*testing.T
	spans   *tracetest.InMemoryExporter
	options tracing.Options
	client  *millhand.Client
}

func inScene(t *testing.T, test func(s *scene), change ...func(*tracing.Options)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		spans := tracetest.NewInMemoryExporter()
		provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
		s := &scene{Server: server, T: t, spans: spans, options: tracing.Options{Provider: provider, Server: func() string { return "nats://user:secret@broker:4222" }}}
		for _, c := range change {
			c(&s.options)
		}
		var err error
		if s.client, err = millhand.NewClient(server.Connect(t), millhand.Config{Logger: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
		s.client.Use(tracing.Enqueues(s.options))
		test(s)
	})
}

// hire starts a worker with a handler for type "email". It is told to stop by stop, which waits.
func (s *scene) hire(name string, run millhand.HandlerFunc) (stop func()) {
	s.Helper()
	mux := millhand.NewMux()
	mux.Use(tracing.Runs(s.options))
	mux.HandleFunc("email", run)
	w, err := millhand.NewWorker(s.Connect(s.T), millhand.WorkerConfig{Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)}, Name: name, Mux: mux})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = w.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	s.Cleanup(stop)
	return stop
}

func (s *scene) enqueue(opts ...millhand.EnqueueOption) millhand.Ref {
	s.Helper()
	ref, err := s.client.Enqueue(s.Context(), millhand.Raw{Name: "email", Payload: []byte(`{"to":"ann"}`)}, opts...)
	if err != nil {
		s.Fatal(err)
	}
	return ref
}

// named are the spans whose names begin with a word, the first first.
func (s *scene) named(word string) (found []tracetest.SpanStub) {
	for _, span := range s.spans.GetSpans() {
		if strings.HasPrefix(span.Name, word+" ") {
			found = append(found, span)
		}
	}
	slices.SortFunc(found, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return found
}

// is fails the test unless a span has this name and kind, and these attributes.
func (s *scene) is(span tracetest.SpanStub, name string, kind trace.SpanKind, want map[attribute.Key]any) {
	s.Helper()
	got := make(map[attribute.Key]any)
	for _, a := range span.Attributes {
		got[a.Key] = a.Value.AsInterface()
	}
	want["messaging.system"], want["server.address"], want["server.port"] = "millhand", "broker", int64(4222)
	if span.Name != name || span.SpanKind != kind {
		s.Errorf("span %s, %v; want %s, %v", span.Name, span.SpanKind, name, kind)
	}
	for key, v := range want {
		if got[key] != v {
			s.Errorf("span %s: %s is %v, want %v", span.Name, key, got[key], v)
		}
	}
}

// linked fails the test unless a span has links to exactly these.
func (s *scene) linked(span tracetest.SpanStub, to ...tracetest.SpanStub) {
	s.Helper()
	var got, want []string
	for _, l := range span.Links {
		got = append(got, l.SpanContext.SpanID().String())
	}
	for _, other := range to {
		want = append(want, other.SpanContext.SpanID().String())
	}
	if !slices.Equal(got, want) {
		s.Errorf("span %s is linked to %q, want %q", span.Name, got, want)
	}
}

// The runs of a job have traces of their own, which are linked to the enqueue and to the run before.
func TestRetry(t *testing.T) {
	inScene(t, func(s *scene) {
		seen := make(chan string, 2)
		s.hire("a", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			seen <- j.Trace["traceparent"]
			if j.Attempt == 1 {
				return nil, errors.Join(errors.New("connection refused"))
			}
			return []byte(`"ok"`), nil
		})
		time.Sleep(time.Second)
		ref := s.enqueue(millhand.WithDelay(time.Minute))
		if _, err := s.client.Await(s.Context(), ref); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		enqueues, runs := s.named("enqueue"), s.named("process")
		if len(enqueues) != 1 || len(runs) != 2 || len(s.named("settle")) > 0 {
			t.Fatalf("spans %v", s.spans.GetSpans())
		}
		s.is(enqueues[0], "enqueue default.email", trace.SpanKindProducer, map[attribute.Key]any{
			"messaging.operation.name": "enqueue", "messaging.operation.type": "send", "messaging.destination.name": "default.email",
			"messaging.message.id": ref.ID, "messaging.message.body.size": int64(12),
		})
		for i, run := range runs {
			outcome := []string{"retrying", "succeeded"}[i]
			s.is(run, "process default.email", trace.SpanKindConsumer, map[attribute.Key]any{
				"messaging.operation.name": "process", "messaging.operation.type": "process", "messaging.message.id": ref.ID, "messaging.message.body.size": int64(12),
				"millhand.job.life": ref.Life, "millhand.job.attempt": int64(i + 1), "millhand.job.crashes": int64(0), "millhand.job.outcome": outcome,
			})
			if run.Parent.IsValid() || run.SpanContext.TraceID() == enqueues[0].SpanContext.TraceID() {
				t.Errorf("run %d is in another's trace", i+1)
			}
			if trace := <-seen; !strings.Contains(trace, run.SpanContext.SpanID().String()) {
				t.Errorf("the handler of run %d goes on from %s", i+1, trace)
			}
		}
		s.linked(runs[0], enqueues[0])
		s.linked(runs[1], enqueues[0], runs[0])
		if runs[0].Status.Code != codes.Error || runs[1].Status.Code == codes.Error || errorTypeOf(runs[0]) != "*errors.errorString" {
			t.Errorf("status %+v, %+v, error type %s", runs[0].Status, runs[1].Status, errorTypeOf(runs[0]))
		}
		s.noted(runs...)
	})
}

// noted fails the test unless the first events are of these runs.
func (s *scene) noted(runs ...tracetest.SpanStub) {
	s.Helper()
	var ids, want []string
	for e, err := range s.client.Events(s.Context(), time.Now().Add(-time.Hour)) {
		if err != nil {
			s.Fatal(err)
		}
		if ids = append(ids, e.Trace); len(ids) == len(runs) {
			break
		}
	}
	for _, run := range runs {
		want = append(want, run.SpanContext.TraceID().String())
	}
	if !slices.Equal(ids, want) {
		s.Errorf("events of traces %q, want %q", ids, want)
	}
}

func errorTypeOf(span tracetest.SpanStub) string {
	for _, a := range span.Attributes {
		if a.Key == "error.type" {
			return a.Value.AsString()
		}
	}
	return ""
}

// Whoever runs a job after its worker crashed is linked to the enqueue, and to the last run that said
// anything.
func TestCrash(t *testing.T) {
	inScene(t, func(s *scene) {
		link := s.Link()
		mux := millhand.NewMux()
		mux.Use(tracing.Runs(s.options))
		mux.HandleFunc("email", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			if j.Attempt == 1 {
				return nil, millhand.RetryAfter(time.Second, errors.New("not yet"))
			}
			link.Hold()
			<-ctx.Done()
			return nil, ctx.Err()
		})
		first, err := millhand.NewWorker(link.Connect(s.T), millhand.WorkerConfig{Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)}, Name: "first", Mux: mux})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = first.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		time.Sleep(time.Second)
		ref := s.enqueue()
		time.Sleep(10 * time.Second) // it has it
		s.hire("second", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		if _, err := s.client.Await(s.Context(), ref); err != nil {
			t.Fatal(err)
		}
		link.Release()
		time.Sleep(time.Second)
		runs := s.named("process")
		if len(runs) != 3 {
			t.Fatalf("spans %v", runs)
		}
		s.linked(runs[2], s.named("enqueue")[0], runs[0])
		s.is(runs[1], "process default.email", trace.SpanKindConsumer, map[attribute.Key]any{"millhand.job.outcome": "lost", "error.type": "lease_lost"})
		s.is(runs[2], "process default.email", trace.SpanKindConsumer, map[attribute.Key]any{"millhand.job.crashes": int64(1), "millhand.job.outcome": "succeeded"})
	})
}

// Failures have a type that can be counted; what is no failure has none.
func TestErrorTypes(t *testing.T) {
	inScene(t, func(s *scene) {
		of := map[string]func(ctx context.Context) error{
			"panic":     func(context.Context) error { panic("no") },
			"permanent": func(context.Context) error { return millhand.Permanent(errors.New("no")) },
			"timeout":   func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			"snooze":    func(context.Context) error { return millhand.Snooze(time.Hour) },
			"stuck":     func(context.Context) error { time.Sleep(time.Minute); return nil },
		}
		s.hire("a", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, of[j.ID](ctx) })
		time.Sleep(time.Second)
		for id := range of {
			s.enqueue(millhand.WithID(id), millhand.WithTimeout(5*time.Second), millhand.WithMaxAttempts(1))
		}
		time.Sleep(2 * time.Minute)
		got := make(map[string]string)
		for _, span := range s.named("process") {
			for _, a := range span.Attributes {
				if a.Key == "messaging.message.id" {
					got[a.Value.AsString()] = errorTypeOf(span)
					if (span.Status.Code == codes.Error) != (errorTypeOf(span) != "") {
						t.Errorf("%s: status %+v", a.Value.AsString(), span.Status)
					}
				}
			}
		}
		for id := range of {
			want := map[string]string{"snooze": ""}
			if w, ok := want[id]; !ok && got[id] != id || ok && got[id] != w {
				t.Errorf("%s has error type %q", id, got[id])
			}
		}
	})
}

// An end that cannot be written for a while has a span of its own, in the trace of the run.
func TestSlowSettle(t *testing.T) {
	inScene(t, func(s *scene) {
		s.hire("a", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			s.Stop()
			time.AfterFunc(3*time.Second, func() { s.Start(s.T) })
			return nil, nil
		})
		time.Sleep(time.Second)
		s.enqueue()
		time.Sleep(20 * time.Second)
		runs, settles := s.named("process"), s.named("settle")
		if len(runs) != 1 || len(settles) != 1 {
			t.Fatalf("spans %v, %v", runs, settles)
		}
		s.is(settles[0], "settle default.email", trace.SpanKindClient, map[attribute.Key]any{"messaging.operation.type": "settle"})
		if settles[0].Parent.SpanID() != runs[0].SpanContext.SpanID() || settles[0].EndTime.Sub(settles[0].StartTime) < 3*time.Second {
			t.Errorf("%+v is not the child of %+v", settles[0], runs[0])
		}
	})
}

// A run is the child of the enqueue where that is wanted.
func TestParent(t *testing.T) {
	inScene(t, func(s *scene) {
		s.hire("a", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		time.Sleep(time.Second)
		s.enqueue()
		time.Sleep(time.Second)
		enqueue, run := s.named("enqueue")[0], s.named("process")[0]
		if run.Parent.SpanID() != enqueue.SpanContext.SpanID() || run.SpanContext.TraceID() != enqueue.SpanContext.TraceID() || len(run.Links) > 0 {
			t.Errorf("%+v is not the child of %+v", run, enqueue)
		}
	}, func(o *tracing.Options) { o.Parent = true })
}

// A caller's own trace is left alone.
func TestCallersTrace(t *testing.T) {
	inScene(t, func(s *scene) {
		s.hire("a", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		time.Sleep(time.Second)
		s.enqueue(millhand.WithTrace(map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}))
		time.Sleep(time.Second)
		if links := s.named("process")[0].Links; len(links) != 1 || links[0].SpanContext.SpanID().String() != "b7ad6b7169203331" {
			t.Errorf("links %+v", links)
		}
	})
}

// Jobs of a bulk have a span each if they are few, and share one if they are many.
func TestMany(t *testing.T) {
	inScene(t, func(s *scene) {
		s.hire("a", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		time.Sleep(time.Second)
		for _, n := range []int{3, 4} {
			s.spans.Reset()
			batch := make([]millhand.Request, n)
			for i := range batch {
				batch[i].Args = millhand.Raw{Name: "email", Payload: []byte(`{}`)}
			}
			if _, err := s.client.EnqueueMany(s.Context(), batch); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			call, creates, runs := s.named("enqueue"), s.named("create"), s.named("process")
			if len(call) != 1 || len(runs) != n {
				t.Fatalf("%d jobs: spans %v", n, s.spans.GetSpans())
			}
			s.is(call[0], "enqueue default", trace.SpanKindClient, map[attribute.Key]any{"messaging.batch.message_count": int64(n), "messaging.operation.type": "send"})
			if n == 4 {
				if len(creates) > 0 || runs[0].Links[0].SpanContext.SpanID() != call[0].SpanContext.SpanID() {
					t.Errorf("spans %v", s.spans.GetSpans())
				}
				continue
			}
			if len(creates) != 3 {
				t.Fatalf("spans %v", s.spans.GetSpans())
			}
			for _, c := range creates {
				s.is(c, "create default.email", trace.SpanKindProducer, map[attribute.Key]any{"messaging.operation.type": "create"})
				if c.Parent.SpanID() != call[0].SpanContext.SpanID() || !slices.ContainsFunc(runs, func(r tracetest.SpanStub) bool {
					return len(r.Links) == 1 && r.Links[0].SpanContext.SpanID() == c.SpanContext.SpanID()
				}) {
					t.Errorf("no run is linked to %+v", c)
				}
			}
		}
	}, func(o *tracing.Options) { o.Creates = 3 })
}

// An enqueue that is refused is an error; one that finds the job there is not.
func TestRefusedEnqueues(t *testing.T) {
	inScene(t, func(s *scene) {
		s.enqueue(millhand.WithID("once"))
		if _, err := s.client.Enqueue(s.Context(), millhand.Raw{Name: "email"}, millhand.WithID("once")); !errors.Is(err, millhand.ErrDuplicate) {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		if _, err := s.client.Enqueue(ctx, millhand.Raw{Name: "email"}); err == nil {
			t.Fatal("enqueued although its context has ended")
		}
		for i, want := range []codes.Code{codes.Unset, codes.Unset, codes.Error} {
			if span := s.named("enqueue")[i]; span.Status.Code != want {
				t.Errorf("enqueue %d: %+v, want %v", i, span.Status, want)
			}
		}
	})
}

// Without a provider the middleware is not there.
func TestNothingWithoutAProvider(t *testing.T) {
	for _, provider := range []trace.TracerProvider{nil, noop.NewTracerProvider()} {
		o := tracing.Options{Provider: provider}
		result := []byte("ok")
		run := tracing.Runs(o)(func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return result, nil })
		enqueue := tracing.Enqueues(o)(func(context.Context, []*millhand.Draft) error { return nil })
		j := &millhand.Job[millhand.Raw]{Ref: millhand.Ref{Queue: "default", Type: "email", ID: "a"}}
		drafts := []*millhand.Draft{{Type: "email", Queue: "default"}}
		ctx := t.Context()
		if n := testing.AllocsPerRun(100, func() {
			_, _ = run(ctx, j)
			_ = enqueue(ctx, drafts)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// What tracing costs a job, without a broker.
func BenchmarkRun(b *testing.B) {
	for name, provider := range map[string]trace.TracerProvider{
		"off": nil, "unsampled": sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample())),
		"sampled": sdk.NewTracerProvider(sdk.WithBatcher(tracetest.NewNoopExporter())),
	} {
		b.Run(name, func(b *testing.B) {
			run := tracing.Runs(tracing.Options{Provider: provider})(func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
			const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
			j := &millhand.Job[millhand.Raw]{Ref: millhand.Ref{Queue: "default", Type: "email", ID: "a"}, Trace: map[string]string{"traceparent": parent}}
			b.ReportAllocs()
			for b.Loop() {
				j.Trace["traceparent"] = parent
				_, _ = run(b.Context(), j)
			}
		})
	}
}
