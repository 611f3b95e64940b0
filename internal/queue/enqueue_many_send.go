package queue

import (
	"context"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

const (
	maxBatchBytes = 8 << 20 // of the payloads of one atomic batch

	probeJobs   = 256                    // sent by themselves to see how long they take
	firstWithin = 20 * time.Millisecond  // for the answer to the first of them
	probeWithin = 500 * time.Millisecond // for those to the others
)

// send sends all jobs that may be in flight together, queue by queue.
func (b *bulk) send(ctx context.Context) {
	for _, jobs := range b.byQueue() {
		queue := b.batch[jobs[0]].place.Queue
		b.store.useQueue(queue)
		s := &sender{bulk: b, pace: b.store.paceOf(queue)}
		if !s.send(ctx, jobs) {
			return
		}
	}
}

// byQueue returns the indices of the jobs that may be in flight, those of each queue together.
func (b *bulk) byQueue() (queues [][]int) {
	at := make(map[job.Name]int, 1)
	var last job.Name
	n := 0 // of the last one's queue
	for i, e := range b.batch {
		if b.errs[i] != nil || e.Below > 0 {
			continue // not at all, or one after the other
		}
		if queue := e.place.Queue; len(queues) == 0 || queue != last {
			if _, known := at[queue]; !known {
				at[queue], queues = len(queues), append(queues, make([]int, 0, len(b.batch)-i))
			}
			last, n = queue, at[queue]
		}
		queues[n] = append(queues[n], i)
	}
	return queues
}

// A sender sends the jobs of one queue, each by itself or in atomic batches, whichever is faster.
type sender struct {
	*bulk
	pace *pace

	refused    int // batches in a row that a taken id was in the way of
	withoutIDs int // batches to come that are made without ids of choice
}

// send reports whether all were sent, as long as answers come.
func (s *sender) send(ctx context.Context, jobs []int) bool {
	if s.each {
		return s.sendEach(ctx, jobs)
	}
	for len(jobs) > 0 {
		chunk := s.chunk(jobs)
		sent := true
		switch s.pace.plan(len(chunk), time.Now()) {
		case planEach:
			sent = s.sendEach(ctx, chunk)
		case planProbe:
			chunk = chunk[:min(probeJobs, len(chunk))]
			sent = s.probe(ctx, chunk)
		case planTogether:
			sent = s.sendTogether(ctx, chunk)
		}
		if !sent {
			return false
		}
		jobs = jobs[len(chunk):]
	}
	return true
}

// chunk returns as many of the jobs as a batch may have.
func (s *sender) chunk(jobs []int) []int {
	bytes := 0
	for n, i := range jobs {
		bytes += len(s.batch[i].Record.Payload)
		if n == stream.MaxAtomic || n > 0 && bytes > maxBatchBytes {
			return jobs[:n]
		}
	}
	return jobs
}

// probe sends jobs by themselves to see how long they take: first one, to know how far away the broker
// is, since it answers many that came together at the end of them all. If they take long, it takes the
// faster of two times: a pause of the broker or of this process is no slow disk.
func (s *sender) probe(ctx context.Context, jobs []int) bool {
	if !s.wait(ctx) {
		return false
	}
	one, others := jobs[:1], jobs[1:]
	alone := s.timed(ctx, one, firstWithin)
	if s.unanswered() > 0 { // too far away to be waited for
		s.pace.noteEach(0, time.Now())
		return s.sendEach(ctx, others)
	}
	half := others[:len(others)/2]
	each := max(s.timed(ctx, half, probeWithin)-alone, 1) / time.Duration(len(half))
	if others = others[len(half):]; each*stream.MaxAtomic > batchGuess {
		each = min(each, max(s.timed(ctx, others, probeWithin)-alone, 1)/time.Duration(len(others)))
		others = nil
	}
	s.pace.noteEach(each, time.Now())
	return s.sendEach(ctx, others) && ctx.Err() == nil
}

// timed returns how long it takes to send jobs by themselves and get their answers, within a time.
func (s *sender) timed(ctx context.Context, jobs []int, within time.Duration) time.Duration {
	began := time.Now()
	if s.sendEach(ctx, jobs) {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		s.wait(ctx)
	}
	return time.Since(began)
}
