package tracing

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/millhand/millhand"
)

// Runs returns middleware for [millhand.Mux.Use] that has a span for each run. Make it the outermost,
// since any other does not have the last word on how a run ends.
//
// The handler's context has the span, and so has the job's Trace: commands and requests go on from
// there. A span of its own tells how the end was written, if that took more than 100 ms or failed.
func Runs(o Options) millhand.Middleware {
	t := newTracer(o)
	return func(next millhand.HandlerFunc) millhand.HandlerFunc {
		if t == nil {
			return next
		}
		r := &runs{tracer: t, next: next}
		return r.run
	}
}

// attributesOfRun is room for those of a run: of itself, of the server, and of its outcome.
const attributesOfRun = 7 + 2 + 1

// runs are those of a handler.
type runs struct {
	*tracer
	next millhand.HandlerFunc
	last atomic.Pointer[kindOf] // of the last run: a handler has one type, and mostly one queue
}

// kind returns what the spans of the runs of a type have.
func (r *runs) kind(queue, typ string) *kindOf {
	if k := r.last.Load(); k != nil && k.at.queue == queue && k.at.typ == typ {
		return k
	}
	k := r.kindOf(process, queue, typ)
	r.last.Store(k)
	return k
}

func (r *runs) run(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	k := r.kind(j.Queue, j.Type)
	ctx, span := r.startRun(ctx, k, j)
	defer span.End()
	of := span.SpanContext()
	traceparent := inject(of, j.Trace)
	if !span.IsRecording() {
		return r.next(ctx, j)
	}
	if of.IsSampled() {
		id := j.ID
		j.TraceRun(traceparent, func(took time.Duration, err error) {
			if took > slowSettle || err != nil {
				r.settled(of, r.kindOf(settle, k.at.queue, k.at.typ), id, took, err)
			}
		})
	}
	told := false
	defer func() {
		if !told { // the handler ended its goroutine, or panics
			r.describe(span, k, ofRun(nil, j)...)
		}
	}()
	result, err := r.next(ctx, j)
	kind := j.Outcome(ctx, err)
	told = true
	// At once: the SDK makes room for twice as many for each further one.
	attrs := append(make([]attribute.KeyValue, 0, len(k.attributes)+attributesOfRun), k.attributes...)
	span.SetAttributes(append(r.located(ofRun(attrs, j)), ofOutcome(kind))...)
	if failed(kind) {
		fail(span, runErrorType(ctx, kind, err), err)
	}
	return result, err
}

// startRun begins the span of a run: below the enqueue, if that is to be its parent, or else in a trace of its own.
// It is linked to the enqueue, unless that is the parent, to the run before, and to those of the steps of a workflow that it
// comes after. Samplers see the links.
func (t *tracer) startRun(ctx context.Context, k *kindOf, j *millhand.Job[millhand.Raw]) (context.Context, trace.Span) {
	creation := extract(j.Trace)
	b, _ := t.begins.Get().(*beginning)
	defer b.release(&t.begins)
	switch {
	case !creation.IsValid():
	case t.Parent:
		ctx = trace.ContextWithRemoteSpanContext(ctx, creation)
		b.isChild = true
	default:
		b.link(creation)
	}
	if !b.isChild && trace.SpanContextFromContext(ctx).IsValid() {
		b.options = append(b.options, trace.WithNewRoot())
	}
	if j.RunTrace != "" {
		if before := parseParent(j.RunTrace); before.IsValid() {
			b.link(before)
		}
	}
	b.linkAll(j.StepTraces(ctx))
	return t.Start(ctx, k.name, b.all(k)...)
}

// A beginning is what the span of a run begins with. It is used again: spans and samplers get copies of the links.
type beginning struct {
	isChild bool
	links   [2]trace.Link
	n       int                      // of the links
	linked  [3]trace.SpanStartOption // to so many of them
	options []trace.SpanStartOption
}

func newBeginning() any {
	b := new(beginning)
	b.linked[1], b.linked[2] = trace.WithLinks(b.links[:1]...), trace.WithLinks(b.links[:2]...)
	b.options = make([]trace.SpanStartOption, 0, len(b.linked))
	return b
}

func (b *beginning) link(to trace.SpanContext) {
	b.links[b.n] = trace.Link{SpanContext: to}
	b.n++
}

// linkAll links to more than there is room for.
func (b *beginning) linkAll(traceparents []string) {
	links := make([]trace.Link, 0, len(traceparents))
	for _, t := range traceparents {
		if of := parseParent(t); of.IsValid() {
			links = append(links, trace.Link{SpanContext: of})
		}
	}
	if len(links) > 0 {
		b.options = append(b.options, trace.WithLinks(links...))
	}
}

func (b *beginning) all(k *kindOf) []trace.SpanStartOption {
	if b.n > 0 {
		b.options = append(b.options, b.linked[b.n])
	}
	return append(b.options, k.kind)
}

func (b *beginning) release(to *sync.Pool) {
	b.isChild, b.n, b.options = false, 0, b.options[:0]
	to.Put(b)
}

// failed reports whether a run that ended so failed.
func failed(kind millhand.EventKind) bool {
	switch kind {
	case millhand.EventSucceeded, millhand.EventSnoozed, millhand.EventHandedBack, millhand.EventCancelled:
		return false
	case millhand.EventRetrying, millhand.EventDead, millhand.EventLost:
	}
	return true
}

// settled tells how a run's end was written, where there is something to tell.
func (t *tracer) settled(run trace.SpanContext, k *kindOf, id string, took time.Duration, err error) {
	_, span := t.start(trace.ContextWithSpanContext(context.Background(), run), k, trace.WithTimestamp(time.Now().Add(-took)))
	if span.IsRecording() {
		t.describe(span, k, ofMessage(id))
	}
	if err != nil {
		fail(span, errorType(err), err)
	}
	span.End()
}
