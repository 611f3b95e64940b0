package tracing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/pipeline"
)

// The names here follow the semantic conventions for messaging of OpenTelemetry, version 1.43.0, whose
// status is development. This is the only file that knows them.
const (
	scope  = "github.com/millhand/millhand/tracing"
	schema = semconv.SchemaURL
	system = "millhand"
)

// An operation is what a span is of.
type operation int

const (
	enqueueOne operation = iota
	enqueueMany
	create
	process
	settle
	processMessage
	handleBatch
)

// of is the name of an operation, which a span has with what it is done to, its type and the kind of span.
func (o operation) of() (name string, typ attribute.KeyValue, kind trace.SpanKind) {
	switch o {
	case enqueueOne:
		return "enqueue", semconv.MessagingOperationTypeSend, trace.SpanKindProducer
	case enqueueMany:
		return "enqueue", semconv.MessagingOperationTypeSend, trace.SpanKindClient
	case create:
		return "create", semconv.MessagingOperationTypeCreate, trace.SpanKindProducer
	case process:
		return "process", semconv.MessagingOperationTypeProcess, trace.SpanKindConsumer
	case processMessage:
		return "process", semconv.MessagingOperationTypeProcess, trace.SpanKindConsumer
	case handleBatch:
		return "batch", semconv.MessagingOperationTypeProcess, trace.SpanKindConsumer
	case settle:
		return "settle", semconv.MessagingOperationTypeSettle, trace.SpanKindClient
	}
	return "", attribute.KeyValue{}, trace.SpanKindInternal
}

// newKind is what the spans of an operation on a destination have.
func newKind(o operation, destination string) *kindOf {
	name, typ, kind := o.of()
	return &kindOf{
		name: name + " " + destination, kind: trace.WithSpanKind(kind),
		attributes: []attribute.KeyValue{
			semconv.MessagingSystemKey.String(system), semconv.MessagingOperationName(name), typ, semconv.MessagingDestinationName(destination),
		},
	}
}

func ofMessage(id string) attribute.KeyValue { return semconv.MessagingMessageID(id) }

func ofSize(payload int) attribute.KeyValue { return semconv.MessagingMessageBodySize(payload) }

func ofBatch(jobs int) attribute.KeyValue { return semconv.MessagingBatchMessageCount(jobs) }

// ofRun adds the attributes of a run, but for how it ended.
func ofRun(to []attribute.KeyValue, j *millhand.Job[millhand.Raw]) []attribute.KeyValue {
	return append(to,
		ofMessage(j.ID), ofSize(len(j.Args.Payload)),
		semconv.MessagingClientID(j.Worker()),
		attribute.String("millhand.job.life", j.Life),
		attribute.Int("millhand.job.attempt", j.Attempt),
		attribute.Int("millhand.job.crashes", j.Crashes),
		attribute.Float64("millhand.job.wait_seconds", j.Waited().Seconds()),
	)
}

func ofOutcome(kind millhand.EventKind) attribute.KeyValue {
	if kind == "" {
		kind = stuck
	}
	return attribute.String("millhand.job.outcome", string(kind))
}

// stuck is the outcome of a handler that was given up.
const stuck = "stuck"

// ofServer splits HOST:PORT, which may be a URL.
func ofServer(address string) []attribute.KeyValue {
	if _, rest, isURL := strings.Cut(address, "://"); isURL {
		address = rest
	}
	address = address[strings.LastIndexByte(address, '@')+1:] // no user
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	attrs := []attribute.KeyValue{semconv.ServerAddress(host)}
	if n, err := strconv.Atoi(port); err == nil {
		attrs = append(attrs, semconv.ServerPort(n))
	}
	return attrs
}

// maxText bounds what a span says of an error, bytes.
const maxText = 1 << 10

// fail marks a span as failed.
func fail(span trace.Span, typ string, err error) {
	span.SetAttributes(semconv.ErrorTypeKey.String(typ))
	text := ""
	if err != nil {
		text = err.Error()
	}
	span.SetStatus(codes.Error, text[:min(len(text), maxText)])
}

// runErrorType is the type of error of a run that failed.
func runErrorType(ctx context.Context, kind millhand.EventKind, err error) string {
	var panicked *millhand.PanicError
	switch {
	case kind == "":
		return stuck
	case kind == millhand.EventLost:
		return "lease_lost"
	case errors.As(err, &panicked):
		return "panic"
	case errors.Is(context.Cause(ctx), millhand.ErrTimeout):
		return "timeout"
	case millhand.IsPermanent(err):
		return "permanent"
	}
	return errorType(err)
}

// errorType is the Go type of the innermost error, the first of several.
func errorType(err error) string {
	for err != nil {
		var inner error
		switch e := err.(type) { //nolint:errorlint // it goes down one by one
		case interface{ Unwrap() error }:
			inner = e.Unwrap()
		case interface{ Unwrap() []error }:
			if all := e.Unwrap(); len(all) > 0 {
				inner = all[0]
			}
		}
		if inner == nil {
			break
		}
		err = inner
	}
	return fmt.Sprintf("%T", err)
}

// slowSettle is from when on it is worth a span how long a run's end took to be written.
const slowSettle = 100 * time.Millisecond

// ofCall is what the span of a pipeline's call has.
func ofCall(c *pipeline.Call) []attribute.KeyValue {
	attrs := []attribute.KeyValue{attribute.Int("millhand.pipeline.attempt", c.Attempt)}
	if c.Batcher == "" {
		return append(attrs, ofMessage(c.ID(0)))
	}
	attrs = append(attrs, ofBatch(c.Values))
	if c.Trigger != 0 {
		attrs = append(attrs, attribute.String("millhand.pipeline.trigger", c.Trigger.String()))
	}
	return attrs
}

func ofFailed(values int) attribute.KeyValue {
	return attribute.Int("millhand.pipeline.failed", values)
}

// callErrorType is the type of error of a pipeline's call that failed.
func callErrorType(err error) string {
	if _, ok := errors.AsType[*pipeline.PanicError](err); ok {
		return "panic"
	}
	if millhand.IsPermanent(err) {
		return "permanent"
	}
	return errorType(err)
}
