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
}

func newRoom(jobs int, bytes int64) *room {
	return &room{jobs: make(chan struct{}, jobs), bytes: semaphore.NewWeighted(bytes), most: bytes}
}

// enter waits until a job of so many bytes has room. One that is larger than the room has it
// for itself.
func (r *room) enter(bytes int64) {
	r.jobs <- struct{}{}
	_ = r.bytes.Acquire(context.Background(), min(bytes, r.most)) // fails with the context only
	r.taken.Add(bytes)
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
func (s *Settler) lighten(h *Held, o *Outcome) int64 {
	if o.Kind == job.EventSucceeded && int64(headroom*len(o.Result)+maxHeaderOverhead) < s.store.nc.MaxPayload() {
		h.Payload = nil // else the result may not be taken, and the job is buried whole
	}
	return int64(len(h.Payload) + 2*len(o.Result))
}

// Unsettled returns how many jobs have ended and are not settled, and how many bytes they hold.
func (s *Settler) Unsettled() (jobs int, bytes int64) { return len(s.room.jobs), s.room.taken.Load() }
