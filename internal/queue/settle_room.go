package queue

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/millhand/millhand/internal/job"
)

// A room holds what is unsettled, within bounds of number and bytes.
type room struct {
	jobs  chan struct{}
	bytes *semaphore.Weighted
	most  int64
	taken atomic.Int64
	open  context.Context //nolint:containedctx // ends when nobody is to wait any more
	shut  context.CancelFunc
}

func newRoom(jobs int, bytes int64) *room {
	r := &room{jobs: make(chan struct{}, jobs), bytes: semaphore.NewWeighted(bytes), most: bytes}
	r.open, r.shut = context.WithCancel(context.Background())
	return r
}

// enter waits until a job of so many bytes has room. One that is larger than the room has it
// for itself. It reports false if there is none and the room is shut.
func (r *room) enter(bytes int64) bool {
	select {
	case r.jobs <- struct{}{}:
	default:
		select {
		case r.jobs <- struct{}{}:
		case <-r.open.Done():
			return false
		}
	}
	need := min(bytes, r.most)
	if !r.bytes.TryAcquire(need) && r.bytes.Acquire(r.open, need) != nil {
		<-r.jobs
		return false
	}
	r.taken.Add(bytes)
	return true
}

// leave gives up the room of a job, as it was entered.
func (r *room) leave(bytes int64) {
	r.taken.Add(-bytes)
	r.bytes.Release(min(bytes, r.most))
	<-r.jobs
}

// headroom is how many times the bytes of a result the largest message must have for its event
// to be stored for certain: as text it may double, and then it is written as base64.
const headroom = 4

// lighten forgets what an outcome does not need, and returns how many bytes the job holds until
// it is settled: its payload, and its result with the event that is made of that.
func (s *Settler) lighten(h *Delivery, o *Outcome) int64 {
	if o.Kind == job.EventSucceeded && int64(headroom*len(o.Result)+maxHeaderOverhead) < s.store.nc.MaxPayload() {
		h.shed, h.Payload = len(h.Payload), nil // else the result may not be taken, and the job is buried whole
	}
	return int64(len(h.Payload) + 2*len(o.Result))
}

// Unsettled returns how many jobs have ended and are not settled, and how many bytes they hold.
func (s *Settler) Unsettled() (jobs int, bytes int64) { return len(s.room.jobs), s.room.taken.Load() }
