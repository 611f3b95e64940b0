package worker

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/batch"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/slots"
)

// A Batch says how jobs of a type are handled many at once.
type Batch struct {
	Size   int           // of one call, at most
	Wait   time.Duration // for more jobs, from the first one of a call
	Bisect bool          // a call that fails as a whole is repeated with halves

	Decode func(h *queue.Delivery, maxAttempts int) (any, error)
	Key    func(value any) string // whose jobs go together, of what Decode returned; nil: all do
	Handle func(ctx context.Context, jobs []*BatchJob) error
}

// maxOpenBatches is how many batches of different keys wait for more jobs, at most: the oldest goes on
// without waiting when there is one more.
const maxOpenBatches = 1000

// A BatchJob is one job of a call that handles many.
type BatchJob struct {
	Value any // what the job was decoded into

	decoded bool
	key     string
	err     error // of decoding

	mu     sync.Mutex
	inCall bool  // what is said of it now counts
	own    error // its end, nil if it succeeds
	ended  bool  // that is final
	result []byte
	lost   error
}

// Fail gives the job an end of its own; nil takes it back. Only the last one in a call counts.
func (j *BatchJob) Fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.inCall {
		j.own = err
	}
}

// SetResult notes what is kept of the job if it succeeds.
func (j *BatchJob) SetResult(result []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.inCall {
		j.result = result
	}
}

// Lost returns why the job is no longer this worker's to run, nil while it is.
func (j *BatchJob) Lost() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lost
}

func (j *BatchJob) lose(cause error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lost = cause
}

// enter notes that a call begins that the job is in.
func (j *BatchJob) enter() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.inCall, j.result = true, nil
}

// leave notes that the call is over, and reports whether the job has ended with it: the call succeeded,
// or the job was failed by itself.
func (j *BatchJob) leave(succeeded bool) (ended bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.inCall, j.ended = false, succeeded || j.own != nil
	return j.ended
}

// fail fails the job with err unless it has an end.
func (j *BatchJob) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.inCall = false
	if !j.ended && j.own == nil {
		j.own = err
	}
	j.ended = true
}

// end is how the job ends: with its result, or with an error.
func (j *BatchJob) end() (result []byte, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.result, j.own
}

// decode decodes the job's payload, once, and finds its key. A panic is the job's failure, and so is an end of
// the goroutine.
func (a *attempt) decode() {
	j, b := a.inBatch, a.batch
	if j.decoded {
		return
	}
	j.decoded, j.err = true, errNeverReturned
	defer func() {
		if v := recover(); v != nil {
			j.err = &job.PanicError{Value: v, Stack: string(debug.Stack())}
		}
	}()
	key := ""
	value, err := b.Decode(a.held, a.settings.MaxAttempts)
	if err == nil && b.Key != nil {
		key = b.Key(value)
	}
	j.Value, j.key, j.err = value, key, err
}

// decodeEach decodes the payloads of jobs. What that calls may end its goroutine, which is not the caller's
// then: it fails its job, and no other.
func decodeEach(attempts []*attempt) {
	for next := 0; next < len(attempts); {
		var decoding sync.WaitGroup
		decoding.Go(func() {
			for next < len(attempts) {
				next++
				attempts[next-1].decode()
			}
		})
		decoding.Wait()
	}
}

// A gatherer makes batches of the jobs of one type in one queue, and has each handled by a call. It
// knows the slots' source, which tells whether there is anything to wait for.
type gatherer struct {
	runner  *runner
	config  *Batch
	source  *slots.Source
	hungry  <-chan struct{}
	came    chan struct{} // capacity 1
	batcher *batch.Batcher[string, *attempt]

	mu    sync.Mutex
	inbox []*attempt
	held  int // jobs that came and have not started, as far as the slots know
}

func newGatherer(r *runner, b *Batch, source *slots.Source) *gatherer {
	return &gatherer{
		runner: r, config: b, source: source, hungry: source.Batch(b.Size), came: make(chan struct{}, 1),
		batcher: batch.New[string](batch.Config[*attempt]{Size: b.Size, Keys: maxOpenBatches, Wait: b.Wait}),
	}
}

// add takes a job in.
func (g *gatherer) add(a *attempt) {
	g.mu.Lock()
	g.inbox = append(g.inbox, a)
	g.held++
	g.mu.Unlock()
	select {
	case g.came <- struct{}{}:
	default:
	}
}

// left notes that jobs have started, or will not. The slots know of it already.
func (g *gatherer) left(jobs int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held -= jobs
}

// run starts calls until stopped is closed. When ctx ends nothing waits any more.
func (g *gatherer) run(ctx context.Context, stopped <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	ended := ctx.Done()
	for {
		select {
		case <-stopped:
			return
		case <-ended:
			ended = nil
		case <-g.came:
		case <-g.hungry:
		case <-timer.C:
		}
		for _, b := range g.full(ended == nil) {
			g.runner.call(ctx, g, b.Values)
		}
		if next, waits := g.batcher.Next(); waits {
			timer.Reset(time.Until(next))
		}
	}
}

// full returns the batches that have waited for long enough, all if it is over.
func (g *gatherer) full(over bool) []batch.Batch[string, *attempt] {
	g.mu.Lock()
	came := g.inbox
	g.inbox = nil
	g.mu.Unlock()
	group := make([]batch.Item[string, *attempt], 0, len(came))
	for _, a := range came {
		group = append(group, batch.Item[string, *attempt]{Value: a})
	}
	if g.config.Key != nil {
		decodeEach(came)
		for i, a := range came {
			group[i].Key = a.inBatch.key
		}
	}
	now := time.Now()
	full := g.batcher.Due(now, g.batcher.Add(now, group, nil))
	if over || g.starves() {
		full = g.batcher.Flush(full)
	}
	return full
}

// starves reports whether those that wait are all that can come.
func (g *gatherer) starves() bool {
	gathered, hungry := g.source.Hungry()
	g.mu.Lock()
	defer g.mu.Unlock()
	return hungry && g.held >= gathered
}
