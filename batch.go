package millhand

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/worker"
)

// MaxBatchSize is the largest Size of a [BatchConfig].
const MaxBatchSize = 10_000

// A BatchConfig says which jobs of a type go into one call of its handler. The zero value is useful.
type BatchConfig[T Args] struct {
	// Size is how many jobs a call has at most, from 1 to [MaxBatchSize]. Defaults to 100. Negative is
	// invalid.
	Size int

	// Wait is how long a job waits for others to go with, from the first of a call. Later ones do not
	// extend it. Defaults to 1 s. Negative is invalid, and so is more than half of the AckWait of the
	// [WorkerConfig]. Nothing waits in vain: if a quota, a rate, a pause or a drain keeps further jobs
	// from coming, those that are there go at once.
	Wait time.Duration

	// Key has only jobs of the same key go together. It does not keep calls apart: two of one key may
	// run at once. It must not block. With more than 1,000 keys waiting the oldest goes at once.
	// Defaults to one key for all.
	Key func(*Job[T]) string

	// Bisect repeats a call that failed as a whole with each half of its jobs, down to single ones, so
	// that one bad job fails alone. What the call has done for the others it does again, so they must
	// be idempotent within a call, too. A call of n jobs becomes at most 2n-1. It is not repeated after
	// the end of its context, and not for [RetryAfter], [Snooze] and [HandBack] and for errors that
	// the All of package pipeline has marked, which say that no job is at fault.
	Bisect bool
}

func (o BatchConfig[T]) check(typ string) error {
	switch {
	case o.Size < 0 || o.Size > MaxBatchSize:
		return about("type "+typ, job.Invalid("batch size", o.Size, "must be from 1 to %d", MaxBatchSize))
	case o.Wait < 0:
		return about("type "+typ, job.Invalid("batch wait", o.Wait, "must not be negative"))
	}
	return nil
}

// checkWaits: a job that waits for its batch is in hand, and half of its lease is for the run.
func (c WorkerConfig) checkWaits(types map[string]worker.Type) error {
	most := cmp.Or(c.AckWait, queue.DefaultAckWait) / 2
	for _, typ := range slices.Sorted(maps.Keys(types)) {
		if b := types[typ].Batch; b != nil && b.Wait > most {
			return about("type "+typ, job.Invalid("batch wait", b.Wait, "must be at most %v, half of the ack wait", most))
		}
	}
	return nil
}

// A JobBatch is what one call of a batch handler has. The methods may be called from any goroutine
// until the handler has returned; after that, and for jobs of other batches, they do nothing.
type JobBatch[T Args] struct {
	Jobs []*Job[T] // never empty; the handler's own
}

// batchPart is a job's part in the batch that its handler has now.
type batchPart struct {
	mu   sync.Mutex
	of   any // a *JobBatch
	mine *worker.BatchJob
}

func (p *batchPart) join(of any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of = of
}

// part returns j as the worker knows it, nil if it is not in b.
func (b *JobBatch[T]) part(j *Job[T]) *worker.BatchJob {
	if j == nil || j.part == nil {
		return nil
	}
	j.part.mu.Lock()
	defer j.part.mu.Unlock()
	if j.part.of != b {
		return nil
	}
	return j.part.mine
}

// Fail gives j an end of its own, by the rules of [Handle]: [Permanent], [RetryAfter], [Snooze] and
// [HandBack] mean for it what they mean there. What the handler returns is the end of the others. The
// last call counts, and a nil err takes an earlier one back.
func (b *JobBatch[T]) Fail(j *Job[T], err error) {
	if p := b.part(j); p != nil {
		p.Fail(err)
	}
}

// Result sets what is kept of j, as JSON, if it succeeds: see [HandleResult]. A v that cannot be
// encoded fails j for good.
func (b *JobBatch[T]) Result(j *Job[T], v any) {
	p := b.part(j)
	if p == nil {
		return
	}
	result, err := encode(v)
	if err != nil {
		p.Fail(err)
		return
	}
	p.SetResult(result)
}

// Lost returns [ErrLeaseLost] or [ErrPermitLost] once j is no longer this worker's to run, and nil while
// it is. The handler should leave it out: it runs again elsewhere, whatever is said of it here. When all
// jobs of the call are lost its context ends.
func (b *JobBatch[T]) Lost(j *Job[T]) error {
	if p := b.part(j); p != nil {
		return p.Lost()
	}
	return nil
}

// HandleBatch registers a handler that is called for many jobs of a type at once, with at most one
// [TypeConfig]. A type has this or a handler of one job. It panics like [Handle].
//
// Each job keeps what it has with a handler of one: its attempts, backoff, dead letter, event, result,
// lease and place in quotas and rates. [JobBatch.Fail] ends one job; what the handler returns ends all
// others, and so does a panic. A job that failed is retried alone, with whatever it then meets.
//
// A call takes one slot of the worker's Concurrency; jobs that wait for their call take none. There are
// at most Size of them for each slot that is free, and Size more. The time that a call may take is the least Timeout of its
// jobs. Its context ends when that is over, when the worker stops, or when all its jobs are lost or
// cancelled. Of a call that goes on, a job that was cancelled ends as the handler says, but is not
// retried. Its jobs are of one queue.
//
// [Mux.Use]'s middleware is of single jobs and is not called.
func HandleBatch[T Args](m *Mux, o BatchConfig[T], h func(context.Context, *JobBatch[T]) error, config ...TypeConfig) {
	typ := newArgs[T]().Type()
	m.check(typ, h == nil)
	if err := o.check(typ); err != nil {
		m.refuse(err)
	}
	m.add(typ, config, registered{batch: o.worker(h, decodeBatchJob[T])})
}

// HandleBatchFunc is [HandleBatch] for a type that is known as bytes. It panics like [Mux.HandleFunc].
func (m *Mux) HandleBatchFunc(typ string, o BatchConfig[Raw], h func(context.Context, *JobBatch[Raw]) error, config ...TypeConfig) {
	m.check(typ, h == nil)
	if err := o.check(typ); err != nil {
		m.refuse(err)
	}
	m.add(typ, config, registered{batch: o.worker(h, func(d *queue.Delivery, maxAttempts int) (*Job[Raw], error) {
		return newRawJob(d, maxAttempts), nil
	})})
}

func decodeBatchJob[T Args](d *queue.Delivery, maxAttempts int) (*Job[T], error) {
	j := newJob[T](d, maxAttempts)
	return j, decode(d.Payload, &j.Args)
}

const (
	defaultBatchSize = 100
	defaultBatchWait = time.Second
)

// worker returns o, whose defaults are filled in, and h as a worker knows them.
func (o BatchConfig[T]) worker(h func(context.Context, *JobBatch[T]) error, decode func(*queue.Delivery, int) (*Job[T], error)) *worker.Batch {
	b := &worker.Batch{Size: defaultBatchSize, Wait: defaultBatchWait, Bisect: o.Bisect}
	if o.Size != 0 {
		b.Size = o.Size
	}
	if o.Wait != 0 {
		b.Wait = o.Wait
	}
	b.Decode = func(d *queue.Delivery, maxAttempts int) (any, error) { return decode(d, maxAttempts) }
	if o.Key != nil {
		b.Key = func(value any) string { return o.Key(value.(*Job[T])) } //nolint:errcheck // Decode made it
	}
	b.Handle = func(ctx context.Context, jobs []*worker.BatchJob) error {
		b := &JobBatch[T]{Jobs: make([]*Job[T], len(jobs))}
		for i, mine := range jobs {
			j := mine.Value.(*Job[T]) //nolint:errcheck // Decode made it
			if j.part == nil {
				j.part = &batchPart{mine: mine}
			}
			j.part.join(b)
			b.Jobs[i] = j
		}
		return h(ctx, b)
	}
	return b
}

// decode reads a payload.
func decode[T Args](payload []byte, args *T) error {
	if err := json.Unmarshal(payload, args); err != nil {
		return &job.MalformedError{Err: err}
	}
	if isNil(*args) { // the payload is null
		*args = newArgs[T]()
	}
	return nil
}
