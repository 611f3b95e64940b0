package queue

import "time"

// traced is what whoever traces a run says of it.
type traced struct {
	parent    string // a traceparent
	onSettled func(took time.Duration, err error)
}

// TraceRun notes that a run belongs to a trace: its traceparent stands in what is written of the run.
// Unless it is nil, onSettled is called once that is written, or cannot be, from any goroutine, with
// the time since the handler's end. It must not block.
func (h *Delivery) TraceRun(parent string, onSettled func(took time.Duration, err error)) {
	h.traced.Store(&traced{parent: parent, onSettled: onSettled})
}

// RunTraced is the traceparent of the run, empty if it is not traced.
func (h *Delivery) RunTraced() string {
	if t := h.traced.Load(); t != nil {
		return t.parent
	}
	return ""
}

// tellTracer tells whoever traces the run how it was settled.
func (h *Delivery) tellTracer(err error) {
	if t := h.traced.Load(); t != nil && t.onSettled != nil {
		took, _ := h.SinceFinished()
		t.onSettled(took, err)
	}
}
