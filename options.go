package millhand

import (
	"fmt"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// An EnqueueOption says how one job is enqueued. What it is given must be something: an empty
// id or zero attempts are [ErrInvalid], never the default.
type EnqueueOption func(*enqueueOptions)

type enqueueOptions struct {
	job.Record
	chosenID      bool
	rejectAtQuota bool
	err           error // of the first option that breaks a rule of its own
}

// refuse keeps an option's error if ok is false.
func (o *enqueueOptions) refuse(ok bool, format string, args ...any) {
	if !ok && o.err == nil {
		o.err = fmt.Errorf(format, args...)
	}
}

// WithQueue puts the job into a queue other than "default".
func WithQueue(name string) EnqueueOption { return func(r *enqueueOptions) { r.Queue = name } }

// WithID gives the job an id of the caller's choice. While a job of that queue, type
// and id is alive, another one is refused with [ErrDuplicate].
func WithID(id string) EnqueueOption {
	return func(r *enqueueOptions) { r.ID, r.chosenID = id, true }
}

// WithMaxAttempts bounds the runs that end in an error, over the type's own setting: from 1.
func WithMaxAttempts(n int) EnqueueOption {
	return func(r *enqueueOptions) {
		r.MaxAttempts = n
		r.refuse(n != 0, "max attempts 0: must be at least 1")
	}
}

// WithTimeout bounds one run, over the type's own setting: more than 0.
func WithTimeout(d time.Duration) EnqueueOption {
	return func(r *enqueueOptions) {
		r.Timeout = d
		r.refuse(d != 0, "timeout 0s: must be more than 0")
	}
}

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
