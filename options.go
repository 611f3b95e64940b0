package millhand

import (
	"time"

	"github.com/millhand/millhand/internal/job"
)

// An EnqueueOption says how one job is enqueued.
type EnqueueOption func(*enqueueOptions)

type enqueueOptions struct {
	job.Record
	rejectAtQuota bool
}

// WithQueue puts the job into a queue other than "default".
func WithQueue(name string) EnqueueOption { return func(r *enqueueOptions) { r.Queue = name } }

// WithID gives the job an id of the caller's choice. While a job of that queue, type
// and id is alive, another one is refused with [ErrDuplicate].
func WithID(id string) EnqueueOption { return func(r *enqueueOptions) { r.ID = id } }

// WithMaxAttempts bounds the runs that end in an error, over the type's own setting.
func WithMaxAttempts(n int) EnqueueOption { return func(r *enqueueOptions) { r.MaxAttempts = n } }

// WithTimeout bounds one run, over the type's own setting.
func WithTimeout(d time.Duration) EnqueueOption { return func(r *enqueueOptions) { r.Timeout = d } }

// WithRejectAtQuota refuses the job with an [*ErrQuotaReached] while as many jobs of its type
// are alive in its queue as the type's quota lets run at once, instead of having it wait.
// However many callers ask so at the same time, no more than that get in. Jobs that are
// enqueued without this option are counted and not refused. It has no effect on a type
// without a quota.
func WithRejectAtQuota() EnqueueOption { return func(r *enqueueOptions) { r.rejectAtQuota = true } }

// WithMeta adds a key and value that reach the handler beside the payload.
func WithMeta(key, value string) EnqueueOption {
	return func(r *enqueueOptions) {
		if r.Meta == nil {
			r.Meta = make(map[string]string)
		}
		r.Meta[key] = value
	}
}
