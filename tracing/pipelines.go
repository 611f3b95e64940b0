package tracing

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/trace"

	"github.com/millhand/millhand/pipeline"
)

// Pipelines returns middleware for the Use of a [pipeline.Config], of any number of pipelines:
//
//   - "process <pipeline>" for each call of Process. Its parent is what the source knows of the message: the
//     traceparent of a stream's headers, or of a job's enqueue; without that it has a trace of its own. It is
//     linked to the attempt before, be that in place or, of a job, the run before.
//   - "batch <pipeline>/<batcher>" for each call of Handle, in a trace of its own, with links to the spans of its
//     messages, the first 128 of them, and to the call that it repeats, in whole or in part.
//
// The functions' contexts have the spans: what they enqueue and ask for goes on from there. Without a provider
// Pipelines returns nil, and a pipeline with it costs what one without any costs.
func Pipelines(o Options) pipeline.Middleware {
	t := newTracer(o)
	if t == nil {
		return nil
	}
	return func(next pipeline.Handler) pipeline.Handler {
		return func(ctx context.Context, c *pipeline.Call) error { return t.call(ctx, c, next) }
	}
}

// maxLinks is how many links a span has: SDKs keep no more, unless they are told to.
const maxLinks = 128

func (t *tracer) call(ctx context.Context, c *pipeline.Call, next pipeline.Handler) error {
	k, parent, links := t.ofCall(c) //nolint:contextcheck // parents come from the messages
	options := []trace.SpanStartOption{trace.WithLinks(links...)}
	if parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	} else {
		options = append(options, trace.WithNewRoot())
	}
	ctx, span := t.start(ctx, k, options...)
	defer span.End()
	if of := span.SpanContext(); of.IsSampled() {
		c.TraceRun(parentOf(of))
	}
	if !span.IsRecording() {
		return next(ctx, c)
	}
	t.describe(span, k, ofCall(c)...)
	err := next(ctx, c)
	if n := c.Failed(); n > 0 {
		span.SetAttributes(ofFailed(n))
	}
	if err != nil && !errors.Is(err, pipeline.ErrHandedBack) && !errors.Is(context.Cause(ctx), pipeline.ErrHandedBack) {
		fail(span, callErrorType(err), err)
	}
	return err
}

// ofCall is what the span of a call begins with.
func (t *tracer) ofCall(c *pipeline.Call) (k *kindOf, parent trace.SpanContext, links []trace.Link) {
	link := func(traceparent string) {
		if of := parseParent(traceparent); traceparent != "" && of.IsValid() && len(links) < maxLinks {
			links = append(links, trace.Link{SpanContext: of})
		}
	}
	link(c.LastRun())
	if c.Batcher == "" {
		if from := c.Trace(0); from.Parent != "" {
			parent = extract(map[string]string{traceParent: from.Parent, traceState: from.State})
		}
		return t.kindOf(processMessage, c.Pipeline, ""), parent, links
	}
	last := ""
	for i := range c.Len() {
		from := c.Trace(i)
		of := from.Run
		if of == "" {
			of = from.Parent
		}
		if of != last { // several values of one message
			link(of)
		}
		last = of
	}
	return t.kindOf(handleBatch, c.Pipeline+"/"+c.Batcher, ""), parent, links
}
