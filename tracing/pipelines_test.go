package tracing_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
	"github.com/millhand/millhand/tracing"
)

// pipe runs a pipeline that is traced, until it is told to stop by stop, which waits.
func pipe[T any](s *scene, c pipeline.Config[T]) (stop func()) {
	s.Helper()
	c.Logger, c.Use = slog.New(slog.DiscardHandler), []pipeline.Middleware{tracing.Pipelines(s.options)}
	p, err := pipeline.New(c)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
	s.Cleanup(stop)
	return stop
}

// A message of a stream goes on from the traceparent in its headers. The attempts of its Process are linked, and a
// batch is linked to its messages, and to the batch that it repeats a part of.
func TestPipelineOfAStream(t *testing.T) {
	inScene(t, func(s *scene) {
		t := s.T
		const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		nc := s.Connect(t)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
			t.Fatal(err)
		}
		for _, headers := range []nats.Header{{"traceparent": {parent}}, {"Traceparent": {parent}}, nil} {
			if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "s", Header: headers, Data: []byte("1")}); err != nil {
				t.Fatal(err)
			}
		}
		source, err := stream.NewSource(nc, stream.SourceConfig{Stream: "S", Durable: "d", Dead: stream.Drop, Logger: slog.New(slog.DiscardHandler)}, stream.JSON[int])
		if err != nil {
			t.Fatal(err)
		}
		calls, within := 0, make(chan trace.SpanContext, 10)
		rows := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Name: "rows", Size: 3, Handle: func(ctx context.Context, b *pipeline.Batch[int]) error {
			within <- trace.SpanContextFromContext(ctx)
			if len(b.Items) > 2 {
				return errors.New("too many")
			}
			if len(b.Items) == 2 {
				b.Fail(1, millhand.Permanent(errors.New("no")))
			}
			return nil
		}})
		stop := pipe(s, pipeline.Config[int]{
			Name: "warehouse", Source: source, Batchers: []pipeline.AnyBatcher{rows}, Concurrency: 1,
			OnFailure: pipeline.Failure{Attempts: 2, Bisect: true, Backoff: func(int) time.Duration { return time.Second }},
			Process: func(_ context.Context, m *pipeline.Message[int]) error {
				if calls++; calls == 1 {
					panic("broken")
				}
				rows.Add(m, m.Value)
				return nil
			},
		})
		time.Sleep(20 * time.Second)
		stop()
		runs, batches := s.named("process"), s.named("batch")
		if len(runs) != 4 || len(batches) != 4 {
			t.Fatalf("%d calls of Process, %d of Handle", len(runs), len(batches))
		}
		first, again := runs[0], runs[1]
		s.is(first, "process warehouse", trace.SpanKindConsumer, map[attribute.Key]any{
			"messaging.operation.name": "process", "messaging.operation.type": "process", "messaging.destination.name": "warehouse",
			"messaging.message.id": "S/1", "millhand.pipeline.attempt": int64(1), "error.type": "panic",
		})
		for _, run := range runs[:3] {
			if run.Parent.TraceID().String() != parent[3:35] || run.Parent.SpanID().String() != parent[36:52] || !run.Parent.IsRemote() {
				t.Errorf("%s is below %v", run.Name, run.Parent)
			}
		}
		if runs[3].Parent.IsValid() {
			t.Errorf("a message without a trace is below %v", runs[3].Parent)
		}
		s.linked(first)
		s.linked(again, first)
		// The whole is called twice, and then its halves.
		s.linked(batches[0], again, runs[2], runs[3])
		s.linked(batches[1], batches[0], again, runs[2], runs[3])
		s.linked(batches[2], batches[1], again)
		s.linked(batches[3], batches[2], runs[2], runs[3])
		s.is(batches[0], "batch warehouse/rows", trace.SpanKindConsumer, map[attribute.Key]any{
			"messaging.operation.name": "batch", "messaging.destination.name": "warehouse/rows", "messaging.batch.message_count": int64(3),
			"millhand.pipeline.attempt": int64(1), "millhand.pipeline.trigger": "full", "error.type": "*errors.errorString",
		})
		s.is(batches[3], "batch warehouse/rows", trace.SpanKindConsumer, map[attribute.Key]any{"millhand.pipeline.failed": int64(1)})
		for i, b := range batches {
			if of := <-within; !of.Equal(b.SpanContext) || b.Parent.IsValid() || (b.Status.Code == codes.Error) != (i < 2) {
				t.Errorf("batch %d is %v, below %v, with status %v; its context has %v", i, b.SpanContext, b.Parent, b.Status, of)
			}
		}
	})
}

// A job of a pipeline goes on from its enqueue, and is linked to its run before. What a batch enqueues goes on from that.
func TestPipelineOfJobs(t *testing.T) {
	inScene(t, func(s *scene) {
		t := s.T
		source, err := millhand.NewJobSource[millhand.Raw](s.Connect(t), millhand.JobSourceConfig{
			Types: []string{"email"}, Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)},
		})
		if err != nil {
			t.Fatal(err)
		}
		type job = *millhand.Job[millhand.Raw]
		next := pipeline.NewBatcher(pipeline.BatcherConfig[string]{Name: "next", Handle: millhand.Jobs(s.client, func(id string) millhand.Args {
			return millhand.Raw{Name: "sent", Payload: []byte(`"` + id + `"`)}
		})})
		pipe(s, pipeline.Config[job]{
			Name: "mail", Source: source, Batchers: []pipeline.AnyBatcher{next},
			Process: func(_ context.Context, m *pipeline.Message[job]) error {
				if m.Value.Attempt == 1 {
					return errors.New("connection refused")
				}
				next.Add(m, m.Value.ID)
				return nil
			},
		})
		time.Sleep(time.Second)
		ref := s.enqueue()
		if _, err := s.client.Await(s.Context(), ref); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		enqueues, runs, batches := s.named("enqueue"), s.named("process"), s.named("batch")
		if len(enqueues) != 2 || len(runs) != 2 || len(batches) != 1 {
			t.Fatalf("spans %v", s.spans.GetSpans())
		}
		for _, run := range runs {
			if run.Parent.SpanID() != enqueues[0].SpanContext.SpanID() {
				t.Errorf("%s is below %v", run.Name, run.Parent)
			}
		}
		s.linked(runs[0])
		s.linked(runs[1], runs[0])
		s.linked(batches[0], runs[1])
		if enqueues[1].Parent.SpanID() != batches[0].SpanContext.SpanID() {
			t.Errorf("what a batch enqueues is below %v", enqueues[1].Parent)
		}
		s.noted(runs...)
	})
}

// A pipeline whose provider does nothing costs what one without tracing costs.
func TestPipelineWithoutAProvider(t *testing.T) {
	for _, provider := range []trace.TracerProvider{nil, noop.NewTracerProvider()} {
		if tracing.Pipelines(tracing.Options{Provider: provider}) != nil {
			t.Errorf("%T: there is middleware", provider)
		}
	}
	run := func(use ...pipeline.Middleware) float64 {
		all := make([]int, 1000)
		return testing.AllocsPerRun(10, func() {
			rows := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Size: 100, Handle: func(context.Context, *pipeline.Batch[int]) error { return nil }})
			p, err := pipeline.New(pipeline.Config[int]{
				Source: pipeline.FromSeq(slices.Values(all)), Batchers: []pipeline.AnyBatcher{rows}, Use: use, Concurrency: 1,
				Process: func(_ context.Context, m *pipeline.Message[int]) error { rows.Add(m, m.Value); return nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
	without, with := run(), run(tracing.Pipelines(tracing.Options{Provider: noop.NewTracerProvider()}))
	if with > without*1.05+20 { // goroutines come and go
		t.Errorf("%v allocations with a provider that does nothing, %v without", with, without)
	}
}

// A batch has as many links as a span keeps.
func TestLinksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		s := &scene{T: t, spans: spans, options: tracing.Options{Provider: sdk.NewTracerProvider(sdk.WithSyncer(spans))}}
		rows := pipeline.NewBatcher(pipeline.BatcherConfig[int]{Size: 300, Handle: func(context.Context, *pipeline.Batch[int]) error { return nil }})
		stop := pipe(s, pipeline.Config[int]{
			Source: pipeline.FromSeq(slices.Values(make([]int, 300))), Batchers: []pipeline.AnyBatcher{rows},
			Process: func(_ context.Context, m *pipeline.Message[int]) error { rows.Add(m, m.Value); return nil },
		})
		time.Sleep(time.Minute)
		stop()
		if batches := s.named("batch"); len(batches) != 1 || len(batches[0].Links) != 128 || len(s.named("process")) != 300 {
			t.Errorf("%d batches, %d spans of Process", len(batches), len(s.named("process")))
		}
	})
}
