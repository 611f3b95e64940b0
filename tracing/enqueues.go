package tracing

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/trace"

	"github.com/millhand/millhand"
)

// Enqueues returns middleware for [millhand.Client.Use] that has a span for each enqueue, and hands its
// context over to the runs of the job, unless the caller did so: [millhand.WithTrace].
func Enqueues(o Options) millhand.EnqueueMiddleware {
	t := newTracer(o)
	return func(next millhand.EnqueueFunc) millhand.EnqueueFunc {
		if t == nil {
			return next
		}
		return func(ctx context.Context, jobs []*millhand.Draft) error {
			if len(jobs) == 1 {
				return t.one(ctx, jobs, next)
			}
			return t.many(ctx, jobs, next)
		}
	}
}

func (t *tracer) one(ctx context.Context, jobs []*millhand.Draft, next millhand.EnqueueFunc) error {
	ctx, span := t.ofJob(ctx, enqueueOne, jobs[0])
	defer span.End()
	handOver(span, jobs[0])
	err := next(ctx, jobs)
	each, isBatch := errors.AsType[*millhand.BatchError](err)
	if isBatch && len(each.Errs) == 1 {
		enqueued(span, each.Errs[0])
	} else {
		enqueued(span, err)
	}
	return err
}

func (t *tracer) many(ctx context.Context, jobs []*millhand.Draft, next millhand.EnqueueFunc) error {
	k := t.kindOf(enqueueMany, queueOf(jobs), "")
	ctx, span := t.start(ctx, k)
	defer span.End()
	if span.IsRecording() {
		t.describe(span, k, ofBatch(len(jobs)))
	}
	created := make([]trace.Span, 0, max(min(t.Creates, len(jobs)), 0))
	for _, j := range jobs {
		if len(jobs) > t.Creates {
			handOver(span, j)
			continue
		}
		_, s := t.ofJob(ctx, create, j)
		handOver(s, j)
		created = append(created, s)
	}
	err := next(ctx, jobs)
	each, isBatch := errors.AsType[*millhand.BatchError](err)
	for i, s := range created {
		switch {
		case !isBatch:
			enqueued(s, err)
		case len(each.Errs) == len(jobs):
			enqueued(s, each.Errs[i])
		}
		s.End()
	}
	enqueued(span, err)
	return err
}

// handOver has the runs of a job be linked to a span, unless the caller chose another one.
func handOver(span trace.Span, j *millhand.Draft) {
	if j.Trace[traceParent] == "" {
		_ = inject(span.SpanContext(), j.Trace)
	}
}

// ofJob begins the span of an operation on a job.
func (t *tracer) ofJob(ctx context.Context, o operation, j *millhand.Draft) (context.Context, trace.Span) {
	k := t.kindOf(o, j.Queue, j.Type)
	ctx, span := t.start(ctx, k)
	if span.IsRecording() {
		t.describe(span, k, ofMessage(j.ID), ofSize(len(j.Payload)))
	}
	return ctx, span
}

// enqueued tells how an enqueue ended. That a job is there already is what its caller asked for.
func enqueued(span trace.Span, err error) {
	if err != nil && span.IsRecording() && !errors.Is(err, millhand.ErrDuplicate) {
		fail(span, errorType(err), err)
	}
}

// queueOf is the queue of all of some jobs, or what stands for several.
func queueOf(jobs []*millhand.Draft) string {
	if len(jobs) == 0 {
		return ""
	}
	for _, j := range jobs {
		if j.Queue != jobs[0].Queue {
			return "(several)"
		}
	}
	return jobs[0].Queue
}
