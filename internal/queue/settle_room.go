package queue

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/millhand/millhand/internal/job"
)

// A room holds what is unsettled, within bounds of number and bytes. A job takes up its bytes, and
// at least an even share of the room, so that one semaphore keeps both bounds.
type room struct {
	free  *semaphore.Weighted
	size  int64 // bytes
	share int64 // bytes, of each of as many jobs as there may be

	jobs  atomic.Int64 // that are in it
	bytes atomic.Int64 // that they hold

	open context.Context //nolint:containedctx // ends when nobody is to wait any more
	shut context.CancelFunc
}

func newRoom(jobs int, bytes int64) *room {
	r := &room{free: semaphore.NewWeighted(bytes), size: bytes, share: bytes / int64(jobs)}
	r.open, r.shut = context.WithCancel(context.Background())
	return r
}

// enter waits until there is room for a job of that size. A job that is larger than the room has
// it for itself. It reports false if there is no room and the room is shut.
func (r *room) enter(bytes int64) bool {
	n := r.takes(bytes)
	if !r.free.TryAcquire(n) && r.free.Acquire(r.open, n) != nil {
		return false
	}
	r.jobs.Add(1)
	r.bytes.Add(bytes)
	return true
}

// leave gives up the room of a job, as it was entered.
func (r *room) leave(bytes int64) {
	r.jobs.Add(-1)
	r.bytes.Add(-bytes)
	r.free.Release(r.takes(bytes))
}

// takes returns how much of the room a job of that size takes up, in bytes.
func (r *room) takes(bytes int64) int64 { return min(max(bytes, r.share), r.size) }

const (
	// headroom is how many times the bytes of a result the largest message must have for its event
	// to be stored for certain: as text it may double, and then it is written as base64.
	headroom = 4

	// minShed is from how many bytes on a payload is worth being forgotten before its job is settled.
	minShed = 1 << 10
)

// lighten forgets what an outcome does not need, and returns how many bytes the job holds until
// it is settled: its payload, and its result with the event that is made of that.
func (s *Settler) lighten(h *Delivery, o *Outcome) int64 {
	if o.Kind == job.EventSucceeded && len(h.Payload) >= minShed &&
		int64(headroom*len(o.Result)+maxHeaderOverhead) < s.store.nc.MaxPayload() {
		h.shed, h.Payload = len(h.Payload), nil // else the result may not be taken, and the job is buried whole
	}
	return int64(len(h.Payload) + 2*len(o.Result))
}

// Unsettled returns how many jobs have ended and are not settled, and how many bytes they hold.
func (s *Settler) Unsettled() (jobs int, bytes int64) {
	return int(s.room.jobs.Load()), s.room.bytes.Load()
}
