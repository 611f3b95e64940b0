// Package otlp sends the spans of a command to a collector, over OTLP/HTTP, as the OTEL_* variables of
// the environment say. A collector that is away or hangs holds nobody up: what finds no room is dropped.
package otlp

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// wanted reports whether spans are to be sent: as a flag says or, if that is empty, if the environment
// names a collector.
func wanted(flag string) bool {
	if flag != "" {
		return flag == "on"
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// An Exporter has spans sent. A nil one sends none.
type Exporter struct{ provider *sdk.TracerProvider }

// New returns an exporter of a service, unless OTEL_SERVICE_NAME names it otherwise; nil if a flag is
// off, or empty and the environment names no collector. It does no I/O.
func New(ctx context.Context, service, flag string, log *slog.Logger) (*Exporter, error) {
	if !wanted(flag) {
		return nil, nil //nolint:nilnil // which is documented
	}
	out, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", service)),
		resource.WithFromEnv(), // has the last word
	)
	if err != nil {
		return nil, err
	}
	otel.SetErrorHandler(&errorLog{log: log})
	return &Exporter{provider: sdk.NewTracerProvider(sdk.WithBatcher(out), sdk.WithResource(about), sdk.WithSampler(sampler()))}, nil
}

// Provider makes spans that are sent.
func (e *Exporter) Provider() trace.TracerProvider { return e.provider }

// Close sends what is left, for as long as that may take, and drops the rest.
func (e *Exporter) Close(ctx context.Context, most time.Duration) {
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	defer cancel()
	_ = e.provider.Shutdown(ctx) // the error handler has it
}

// sampler samples what the environment says, and whatever is linked to something sampled: a run whose
// enqueue is, and the runs that follow a run.
func sampler() sdk.Sampler {
	return sdk.ParentBased(linked{otherwise: fromEnvironment(os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG"))})
}

type linked struct{ otherwise sdk.Sampler }

// ShouldSample implements [sdk.Sampler].
func (l linked) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	for _, link := range p.Links {
		if link.SpanContext.IsSampled() {
			return sdk.SamplingResult{Decision: sdk.RecordAndSample, Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
		}
	}
	return l.otherwise.ShouldSample(p)
}

// Description implements [sdk.Sampler].
func (l linked) Description() string { return "Linked{" + l.otherwise.Description() + "}" }

// fromEnvironment is the sampler of spans without a parent that OTEL_TRACES_SAMPLER names.
func fromEnvironment(name, arg string) sdk.Sampler {
	switch name {
	case "always_off", "parentbased_always_off":
		return sdk.NeverSample()
	case "traceidratio", "parentbased_traceidratio":
		if ratio, err := strconv.ParseFloat(arg, 64); err == nil {
			return sdk.TraceIDRatioBased(ratio)
		}
	}
	return sdk.AlwaysSample()
}

// errorLog says once a minute that spans cannot be sent.
type errorLog struct {
	log  *slog.Logger
	next atomic.Int64 // when the next one is told, in Unix seconds
}

// Handle implements [otel.ErrorHandler].
func (e *errorLog) Handle(err error) {
	now := time.Now().Unix()
	if next := e.next.Load(); now >= next && e.next.CompareAndSwap(next, now+int64(time.Minute/time.Second)) {
		e.log.Warn("spans cannot be sent, and are dropped: is the collector of OTEL_EXPORTER_OTLP_ENDPOINT there?", slog.Any("err", err))
	}
}

// Parent returns ctx with the span that the environment names as TRACEPARENT and TRACESTATE, as a
// worker's commands have it.
func Parent(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{
		"traceparent": os.Getenv("TRACEPARENT"), "tracestate": os.Getenv("TRACESTATE"),
	})
}
