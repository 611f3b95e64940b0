package queue

import (
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// However jobs come and go, there are never more of them than the room has places, nor more of
// their bytes than it has, unless one that is larger than the room has it for itself.
func TestRoomKeepsBothBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const jobs = 4
		size := rapid.SampledFrom([]int64{4, 10, 1000}).Draw(t, "size")
		r := newRoom(jobs, size)
		r.shut() // so that nobody waits
		var inside []int64
		for _, bytes := range rapid.SliceOf(rapid.Int64Range(-1, 2*size)).Draw(t, "jobs, or one that leaves") {
			if bytes < 0 {
				if len(inside) > 0 {
					r.leave(inside[0])
					inside = inside[1:]
				}
				continue
			}
			if r.enter(bytes) {
				inside = append(inside, bytes)
			} else if len(inside) == 0 {
				t.Fatalf("a job of %d bytes finds no room where nothing is", bytes)
			}
			var sum int64
			for _, b := range inside {
				sum += b
			}
			if r.jobs.Load() != int64(len(inside)) || r.bytes.Load() != sum {
				t.Fatalf("%d jobs and %d bytes are counted of %v", r.jobs.Load(), r.bytes.Load(), inside)
			}
			if len(inside) > jobs || sum > size && len(inside) > 1 {
				t.Fatalf("%v bytes are in a room of %d for %d jobs", inside, size, jobs)
			}
		}
	})
}

// Small jobs fill the room by their number, and not sooner.
func TestRoomForAsManyJobsAsItSays(t *testing.T) {
	r := newRoom(maxUnsettled, maxUnsettledBytes)
	for i := range maxUnsettled {
		if !r.free.TryAcquire(r.takes(100)) {
			t.Fatalf("no room for job %d of %d", i, maxUnsettled)
		}
	}
	if r.free.TryAcquire(r.takes(0)) {
		t.Errorf("room for more than %d jobs", maxUnsettled)
	}
}

// Who waits for room gets it when a job leaves, or is turned away once the room is shut.
func TestRoomIsWaitedFor(t *testing.T) {
	for what, tt := range map[string]struct {
		then func(*room)
		want bool
	}{
		"a job leaves": {func(r *room) { r.leave(10) }, true},
		"shut":         {func(r *room) { r.shut() }, false},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(1, 10)
				r.enter(10)
				entered := make(chan bool, 1)
				go func() { entered <- r.enter(1) }()
				synctest.Wait()
				if len(entered) > 0 {
					t.Fatal("nobody waits for room in one that is full")
				}
				tt.then(r)
				if got := <-entered; got != tt.want {
					t.Errorf("entered = %t, want %t", got, tt.want)
				}
			})
		})
	}
}
