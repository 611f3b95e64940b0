package millhand

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millhand/millhand/internal/metrics"
)

// EnqueueMetrics returns a middleware for [Client.Use] that counts what a client enqueues, and the
// collector of its metrics for Prometheus, to be registered once. Several clients may share both.
// docs/operations.md describes the metrics.
func EnqueueMetrics() (EnqueueMiddleware, prometheus.Collector) {
	c := metrics.NewClient()
	return func(next EnqueueFunc) EnqueueFunc {
		return func(ctx context.Context, jobs []*Draft) error {
			began := time.Now()
			err := next(ctx, jobs)
			c.Took(time.Since(began))
			each, _ := errors.AsType[*BatchError](err)
			for i, j := range jobs {
				if each != nil && len(each.Errs) == len(jobs) {
					err = each.Errs[i]
				}
				c.Enqueued(j.Queue, j.Type, whatCameOf(err))
			}
			if each != nil {
				return each
			}
			return err
		}
	}, c
}

// whatCameOf is what came of an enqueue that ended with err.
func whatCameOf(err error) string {
	switch {
	case err == nil:
		return metrics.Stored
	case errors.Is(err, ErrDuplicate):
		return metrics.Duplicate
	case !MaybeStored(err):
		return metrics.Refused
	}
	return metrics.Failed
}
