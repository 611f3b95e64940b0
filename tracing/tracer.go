package tracing

import (
	"context"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Options say how to trace.
type Options struct {
	// Provider makes the spans. Without one, or with one of package noop, nothing is traced, and it
	// costs nothing.
	Provider trace.TracerProvider

	// Parent has runs be children of the enqueue, in its trace, for jobs that wait seconds at most.
	// Otherwise a run has a trace of its own, with a link.
	Parent bool

	// Creates is how many jobs of an EnqueueMany or EnqueueAtomic have a span each, to which their
	// runs are linked, if there are not more jobs than that: else they are linked to the span of the
	// call. 0 is 100, and a negative number none.
	Creates int

	// Server returns the address of the broker, as nats.Conn's ConnectedUrl does; nil: it is not told.
	Server func() string
}

const defaultCreates = 100

// A tracer makes spans.
type tracer struct {
	Options
	trace.Tracer

	begins sync.Pool                // of *beginning
	server atomic.Pointer[serverAt] // where the broker was when a span was last described

	mu    sync.RWMutex
	kinds map[place]*kindOf
}

// A place is what a kind of span is made for.
type place struct {
	operation  operation
	queue, typ string
}

// A kindOf is what all spans of an operation on a destination have.
type kindOf struct {
	at         place
	name       string
	kind       trace.SpanStartOption
	attributes []attribute.KeyValue
}

// maxKinds bounds what is kept: those who enqueue may have types without end.
const maxKinds = 1000

// kindOf returns what the spans of an operation have, of jobs of a type, or of all types of a queue if that is empty.
func (t *tracer) kindOf(o operation, queue, typ string) *kindOf {
	at := place{o, queue, typ}
	t.mu.RLock()
	k := t.kinds[at]
	t.mu.RUnlock()
	if k != nil {
		return k
	}
	destination := queue
	if typ != "" {
		destination += "." + typ
	}
	k = newKind(o, destination)
	k.at = at
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kinds) < maxKinds {
		t.kinds[at] = k
	}
	return k
}

// newTracer returns nil if nothing is to be traced.
func newTracer(o Options) *tracer {
	switch o.Provider.(type) {
	case nil, noop.TracerProvider, *noop.TracerProvider:
		return nil
	}
	if o.Creates == 0 {
		o.Creates = defaultCreates
	}
	return &tracer{
		Options: o, Tracer: o.Provider.Tracer(scope, trace.WithSchemaURL(schema)), kinds: make(map[place]*kindOf),
		begins: sync.Pool{New: newBeginning},
	}
}

// start begins a span. Whoever does has to describe it, if it is recording.
func (t *tracer) start(ctx context.Context, k *kindOf, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	return t.Start(ctx, k.name, append(opts, k.kind)...)
}

// describe sets the attributes of a recording span.
func (t *tracer) describe(span trace.Span, k *kindOf, more ...attribute.KeyValue) {
	attrs := append(make([]attribute.KeyValue, 0, len(k.attributes)+len(more)+2), k.attributes...)
	span.SetAttributes(t.located(append(attrs, more...))...)
}

// located adds where the broker is, if that is to be told.
func (t *tracer) located(attrs []attribute.KeyValue) []attribute.KeyValue {
	if t.Server == nil {
		return attrs
	}
	return append(attrs, t.ofServer(t.Server())...)
}

// A serverAt is what spans say of an address.
type serverAt struct {
	address    string
	attributes []attribute.KeyValue
}

// ofServer reads an address, if it is not that of the last span.
func (t *tracer) ofServer(address string) []attribute.KeyValue {
	if at := t.server.Load(); at != nil && at.address == address {
		return at.attributes
	}
	at := &serverAt{address, ofServer(address)}
	t.server.Store(at)
	return at.attributes
}

// The keys of a job's trace.
const (
	traceParent = "traceparent"
	traceState  = "tracestate"
)

// inject has a job, or what its handler calls, go on from a span. What was there is replaced. It returns what is there.
func inject(span trace.SpanContext, to map[string]string) (traceparent string) {
	if !span.IsValid() {
		return to[traceParent]
	}
	traceparent = parentOf(span)
	if to[traceParent] = traceparent; len(to) > 1 { // there was more than that
		clear(to)
		to[traceParent] = traceparent
	}
	if state := span.TraceState(); state.Len() > 0 {
		to[traceState] = state.String()
	}
	return traceparent
}

// Where the parts of a traceparent of W3C Trace Context, version 00, are.
const (
	traceAt = 3
	spanAt  = 36
	flagsAt = 53
	length  = 55
)

// parentOf is a span as a traceparent.
func parentOf(span trace.SpanContext) string {
	var b [length]byte
	copy(b[:], "00-")
	id, sp := span.TraceID(), span.SpanID()
	encode(b[traceAt:], id[:])
	b[spanAt-1] = '-'
	encode(b[spanAt:], sp[:])
	b[flagsAt-1] = '-'
	encode(b[flagsAt:], []byte{byte(span.TraceFlags() & (trace.FlagsSampled | trace.FlagsRandom))})
	return string(b[:])
}

const digits = "0123456789abcdef"

// encode is hex.Encode with two digits at a time.
func encode(to, from []byte) {
	for i, b := range from {
		to[2*i], to[2*i+1] = digits[b>>4], digits[b&0xf]
	}
}

// extract is the span that a job's trace names, invalid if it names none.
func extract(from map[string]string) trace.SpanContext {
	parent := from[traceParent]
	switch {
	case parent == "":
		return trace.SpanContext{}
	case len(from) == 1, from[traceState] == "":
		return parseParent(parent)
	}
	return extractAll(from)
}

func extractAll(from map[string]string) trace.SpanContext {
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier(from)))
}

// parseParent reads a traceparent, the usual one without an allocation.
func parseParent(s string) trace.SpanContext {
	if len(s) != length || s[:traceAt] != "00-" || s[spanAt-1] != '-' || s[flagsAt-1] != '-' {
		return extractAll(map[string]string{traceParent: s})
	}
	c := trace.SpanContextConfig{Remote: true}
	var flags [1]byte
	if !decode(c.TraceID[:], s[traceAt:]) || !decode(c.SpanID[:], s[spanAt:]) || !decode(flags[:], s[flagsAt:]) {
		return trace.SpanContext{}
	}
	c.TraceFlags = trace.TraceFlags(flags[0])
	if c.TraceFlags&^(trace.FlagsSampled|trace.FlagsRandom) != 0 {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(c)
}

// decode reads the hexadecimal digits that a text begins with. Capitals are none, by W3C Trace Context.
func decode(to []byte, s string) bool {
	s = s[:2*len(to)]
	for i := range to {
		high, low := digit(s[2*i]), digit(s[2*i+1])
		if high|low > 0xf {
			return false
		}
		to[i] = high<<4 | low
	}
	return true
}

// digit is the value of a hexadecimal digit, over 15 if it is none.
func digit(c byte) byte {
	switch n, letter := c-'0', c-'a'; {
	case n <= 9:
		return n
	case letter <= 5:
		return letter + 10
	}
	return 0xff
}
