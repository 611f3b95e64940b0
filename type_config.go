package millhand

import (
	"cmp"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/worker"
)

// A TypeConfig says how jobs of a type are run. It stands beside the handler:
//
//	millhand.Handle(mux, send, millhand.TypeConfig{Timeout: time.Minute, MaxAttempts: 3})
//
// The zero value means the defaults. A job's own [WithTimeout] and [WithMaxAttempts] come first.
type TypeConfig struct {
	// Timeout is how long one run may take. Its context then ends with [ErrTimeout], and the
	// run is a failed attempt. Defaults to no limit. Negative is invalid.
	Timeout time.Duration

	// MaxAttempts is how many runs may end in an error before the job is dead, from 1. Defaults
	// to 10. Negative is invalid, and so is more than 1,000,000.
	MaxAttempts int

	// Backoff is how long a failed job waits for its next attempt.
	Backoff Backoff

	// Quotas limit the jobs of this type across all workers, as those of a [WorkerConfig] do. One
	// that names nothing is the type's own:
	//
	//	Quotas: []millhand.Quota{{Limit: 5}}                      // at once
	//	Quotas: []millhand.Quota{{Limit: 100, Per: time.Minute}}  // starts a minute
	//
	// With a Key it is that key's, and the type belongs to the key from then on. A Queue is
	// invalid here. Defaults to no limit but those that were set by other means.
	Quotas []Quota

	// SilentSuccess lets a job that succeeds at its first attempt, without a result, end
	// without an event: half the broker's work for short jobs, and nothing is known of them
	// afterwards. [Client.Get] and [Client.Await] return [ErrNoRecord] once such a job is done.
	// All other ends are written as always. If its worker vanishes after the handler has
	// returned and before the broker knows, the job counts a crash and runs again.
	SilentSuccess bool
}

// A Backoff says how long a failed job waits for its next attempt: Initial after its first
// failure, Factor times as long after each further one, at most Max.
type Backoff struct {
	// Initial is the wait after the first failure. Defaults to 1 s. Negative is invalid.
	Initial time.Duration

	// Factor is how many times longer each wait is than the one before, from 1. Defaults to 2.
	Factor float64

	// Max is the longest wait. Defaults to 1 h. Negative is invalid.
	Max time.Duration

	// Jitter is the share by which each wait is shortened or lengthened at random, below 1, so
	// that jobs which failed together do not come back together. Defaults to 0.2. Negative means
	// none.
	Jitter float64
}

// Check returns an [*InvalidError] if c cannot be the configuration of typ, or typ cannot be a
// type. [NewWorker] checks the same.
func (c TypeConfig) Check(typ string) error {
	if err := job.CheckType(typ); err != nil {
		return publicError(err)
	}
	return publicError(c.check(typ))
}

// check returns an error that names the rule which c breaks.
func (c TypeConfig) check(typ string) error {
	switch {
	case c.Timeout < 0:
		return job.Invalid("timeout", c.Timeout, "must not be negative")
	case c.MaxAttempts < 0:
		return job.Invalid("max attempts", c.MaxAttempts, "must not be negative")
	case c.MaxAttempts > job.MaxMaxAttempts:
		return job.Invalid("max attempts", c.MaxAttempts, "must be at most %d", job.MaxMaxAttempts)
	}
	if err := job.Backoff(c.Backoff).Check(); err != nil {
		return about("backoff", err)
	}
	for _, q := range c.Quotas {
		if q.Queue != "" || q.Type != "" && q.Type != typ {
			return job.Invalid("quota", cmp.Or(q.Queue, q.Type), "is not of this type or a key: put it into the WorkerConfig")
		}
		if err := q.of(typ).check(); err != nil {
			return err
		}
	}
	return nil
}

// of returns a quota that stands beside the handler of typ as one that stands for itself.
func (q Quota) of(typ string) Quota {
	switch {
	case q.Key == "":
		q.Type = typ
	case !slices.Contains(q.Types, typ):
		q.Types = append(slices.Clone(q.Types), typ)
	}
	return q
}

// settings returns c as a worker knows it.
func (c TypeConfig) settings() worker.Settings {
	return worker.Settings{
		Timeout: c.Timeout, MaxAttempts: c.MaxAttempts, Backoff: job.Backoff(c.Backoff), SilentSuccess: c.SilentSuccess,
	}
}
