package millhand

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

// Bounds of a [Map].
const (
	maxInFlight  = 10_000
	maxMapBatch  = 1_000           // jobs that are enqueued together
	maxMapCancel = 256             // jobs that are cancelled at the same time
	leaveWithin  = 5 * time.Second // for cancelling what is in flight
)

// MapConfig says how [Map] runs its jobs. The zero value is usable.
type MapConfig struct {
	// InFlight is how many jobs may be enqueued and not ended, at most 10,000. Defaults to four for
	// each CPU of this machine. How many of them run at once is up to the workers.
	InFlight int

	// Unordered yields results as jobs end. Without it they come in the order of the input: behind a
	// slow job others go on until 4 * InFlight results wait for it.
	Unordered bool

	// Timeout bounds how long one job may take from its enqueue, its wait in the queue included. One
	// that takes longer is cancelled, and [ErrTimeout] is yielded in its place. Zero is no bound.
	Timeout time.Duration

	// Name, unless it is empty, lets a later Map of that name go on where this one ended, also in
	// another process: jobs of the same place in the input, type and payload that have succeeded or
	// died are not run again, those that are alive are waited for, and all others are enqueued. It
	// works for as long as the ends of jobs are kept ([Retention]). A name is like that of a type.
	Name string

	// Options are those of each job. With a Name they have no [WithID], [WithUnique] or [WithUniqueFor].
	Options []EnqueueOption
}

// Done is one job of a [Map] that has ended.
type Done[T Args, R any] struct {
	Ref    Ref // zero if the job was not enqueued
	Args   T
	Result R
}

// Map runs a job for each element of seq on the workers and yields how they end. Results are JSON of
// type R. The error beside a result is that job's: a [*FailedError], [ErrCancelled], [ErrTimeout], or
// what [Client.Enqueue] refused it with. The body of the loop decides whether to go on.
//
// Nothing is enqueued before the loop begins, and an element is taken from seq only when there is
// room for its job, so seq may be endless. It is taken in the loop's goroutine: while seq blocks,
// results wait.
//
// The end of ctx, or of the connection, ends the loop with that error last. However it ends, jobs in
// flight are then cancelled, which takes up to 5 s. Those of a process that dies live on.
func Map[R any, T Args](ctx context.Context, c *Client, seq iter.Seq[T], cfg MapConfig) iter.Seq2[Done[T, R], error] {
	return func(yield func(Done[T, R], error) bool) {
		err := cfg.complete()
		if seq == nil {
			err = &job.InvalidError{What: "the sequence of a map", Rule: "must not be nil"}
		}
		if err != nil {
			yield(Done[T, R]{}, publicError(err))
			return
		}
		m := newMapping(ctx, c, cfg, yield)
		defer m.close()
		for args := range seq {
			m.submit(args)
			for !m.hasRoom() || len(m.ended) > 0 {
				if !m.step() {
					return
				}
			}
		}
		for m.inFlight > 0 {
			if !m.step() {
				return
			}
		}
	}
}

func (c *MapConfig) complete() error {
	if c.InFlight == 0 {
		c.InFlight = min(4*runtime.GOMAXPROCS(0), maxInFlight)
	}
	switch {
	case c.InFlight < 0 || c.InFlight > maxInFlight:
		return job.Invalid("in flight", c.InFlight, "must be from 1 to %d", maxInFlight)
	case c.Timeout < 0:
		return job.Invalid("timeout", c.Timeout, "must not be negative")
	case c.Name == "":
		return nil
	}
	return job.CheckMap(c.Name)
}

// A mapping is one loop over a [Map]. It belongs to the loop's goroutine, apart from what its
// comments say.
//
//	submit ─► submitted ─► enqueueAll ─► await, a goroutine each ─► ended ─► step ─► yield
type mapping[T Args, R any] struct {
	MapConfig
	client *Client
	yield  func(Done[T, R], error) bool

	ctx        context.Context //nolint:containedctx // of the loop, which has no other frame to keep it in
	stop       context.CancelCauseFunc
	background sync.WaitGroup
	cancels    cancels

	submitted chan *mapItem[T, R] // capacity InFlight, as has ended: nobody waits to send
	ended     chan *mapItem[T, R]

	inFlight int                    // submitted, and not received from ended
	started  int                    // submitted ever
	yielded  int                    // in order
	waiting  map[int]*mapItem[T, R] // have ended, and wait for an earlier one
}

// A mapItem is one element of the input. It belongs to whoever received it last.
type mapItem[T Args, R any] struct {
	index  int
	done   Done[T, R]
	stored bool // by this map
	err    error
}

// errLeft is why jobs of a loop that was left are cancelled.
var errLeft = errors.New("the loop was left")

func newMapping[T Args, R any](ctx context.Context, c *Client, cfg MapConfig, yield func(Done[T, R], error) bool) *mapping[T, R] {
	m := &mapping[T, R]{
		MapConfig: cfg, client: c, yield: yield,
		cancels:   cancels{client: c, room: make(chan struct{}, maxMapCancel)},
		submitted: make(chan *mapItem[T, R], cfg.InFlight),
		ended:     make(chan *mapItem[T, R], cfg.InFlight),
		waiting:   make(map[int]*mapItem[T, R]),
	}
	m.ctx, m.stop = context.WithCancelCause(ctx)
	m.cancels.ctx, m.cancels.giveUp = context.WithCancel(context.WithoutCancel(ctx))
	m.background.Go(m.enqueueAll)
	return m
}

// close cancels what is in flight and ends the mapping's goroutines.
func (m *mapping[T, R]) close() {
	m.stop(errLeft)
	close(m.submitted)
	late := time.AfterFunc(leaveWithin, m.cancels.giveUp)
	defer late.Stop()
	m.background.Wait()
	m.cancels.report()
}

// hasRoom reports whether another job may be enqueued.
func (m *mapping[T, R]) hasRoom() bool {
	return m.inFlight < m.InFlight && (m.Unordered || m.started-m.yielded < 4*m.InFlight)
}

func (m *mapping[T, R]) submit(args T) {
	m.submitted <- &mapItem[T, R]{index: m.started, done: Done[T, R]{Args: args}}
	m.started++
	m.inFlight++
}

// step waits for a job to end. It reports whether the loop goes on.
func (m *mapping[T, R]) step() bool {
	select {
	case it := <-m.ended:
		m.inFlight--
		if isBroken(it.err) {
			m.yield(Done[T, R]{}, it.err)
			return false
		}
		return m.give(it)
	case <-m.ctx.Done():
		m.yield(Done[T, R]{}, context.Cause(m.ctx))
		return false
	}
}

// isBroken reports whether no other job of the client can fare better.
func isBroken(err error) bool { return errors.Is(err, nats.ErrConnectionClosed) }

// give yields an item, and those that waited for it.
func (m *mapping[T, R]) give(it *mapItem[T, R]) bool {
	if m.Unordered {
		return m.yield(it.done, it.err)
	}
	m.waiting[it.index] = it
	for {
		next, ok := m.waiting[m.yielded]
		if !ok {
			return true
		}
		delete(m.waiting, m.yielded)
		m.yielded++
		if !m.yield(next.done, next.err) {
			return false
		}
	}
}

// enqueueAll enqueues what is submitted: what came while one batch was on its way is the next.
func (m *mapping[T, R]) enqueueAll() {
	for first := range m.submitted {
		batch := []*mapItem[T, R]{first}
		for more := true; more && len(batch) < maxMapBatch; {
			select {
			case it, ok := <-m.submitted:
				if more = ok; ok {
					batch = append(batch, it)
				}
			default:
				more = false
			}
		}
		m.enqueue(batch)
	}
}

// enqueue enqueues the jobs of a batch and has those that are stored awaited.
func (m *mapping[T, R]) enqueue(batch []*mapItem[T, R]) {
	jobs := make([]*enqueueOptions, 0, len(batch))
	prepared := batch[:0]
	for _, it := range batch {
		o, err := m.jobOf(it)
		if err != nil {
			m.end(it, publicError(err))
			continue
		}
		jobs, prepared = append(jobs, o), append(prepared, it)
	}
	if m.Name != "" {
		jobs, prepared = m.skipKnown(jobs, prepared)
	}
	for n, err := range m.client.enqueueAll(m.ctx, jobs) {
		it := prepared[n]
		it.done.Ref = refOf(&jobs[n].Record) // which middleware may have changed
		m.onStored(it, err)
	}
}

func (m *mapping[T, R]) jobOf(it *mapItem[T, R]) (*enqueueOptions, error) {
	o, err := newOptions(it.done.Args, append(slices.Clone(m.Options), WithAwait()))
	switch {
	case err != nil || m.Name == "":
		return o, err
	case o.chosenID:
		return nil, job.Invalid("map", m.Name, "derives the ids of its jobs, so no option may choose them")
	}
	o.ID, o.chosenID = job.MapID(m.Name, it.index, o.Type, o.Payload), true
	return o, nil
}

// onStored takes what became of the enqueue of an item.
func (m *mapping[T, R]) onStored(it *mapItem[T, R], err error) {
	duplicate, isDuplicate := errors.AsType[*DuplicateError](err)
	switch {
	case err == nil:
		it.stored = true
	case isDuplicate && m.Name != "": // by the map before this one
		it.done.Ref = duplicate.Existing
	case MaybeStored(err) && m.ctx.Err() != nil:
		m.background.Go(func() {
			m.cancels.cancel(it.done.Ref, context.Cause(m.ctx))
			m.end(it, err)
		})
		return
	default:
		it.done.Ref = Ref{}
		m.end(it, err)
		return
	}
	m.background.Go(func() { m.await(it) })
}

// await waits for the end of a job, and cancels one that is not to be waited for any longer.
func (m *mapping[T, R]) await(it *mapItem[T, R]) {
	ctx := m.ctx
	if m.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, m.Timeout, ErrTimeout)
		defer stop()
	}
	wait := m.client.Await
	if it.stored {
		wait = m.client.awaitStored
	}
	var err error
	it.done.Result, err = awaitedResult[R](wait(ctx, it.done.Ref))
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
		m.cancels.cancel(it.done.Ref, err)
	}
	m.end(it, err)
}

func (m *mapping[T, R]) end(it *mapItem[T, R], err error) {
	it.err = err
	m.ended <- it
}
