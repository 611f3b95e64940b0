package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// maxWithoutIDsLog says for how many batches, 64, jobs with ids of choice are sent by themselves at most,
// after ids turned out to be taken.
const maxWithoutIDsLog = 6

// sendTogether stores jobs in an atomic batch, and sends by themselves those that cannot be in it, or
// all if it is not stored. It reports false if there was no answer, or ctx has ended.
//
// Not all or nothing is the point here, but that the broker syncs its files once for all.
func (s *sender) sendTogether(ctx context.Context, jobs []int) bool {
	in, out := s.split(jobs)
	if len(in) < minTogether || !s.sendBatch(ctx, in) {
		out = jobs // they have their message ids, so it does not matter if the batch was stored
	}
	return ctx.Err() == nil && s.sendEach(ctx, out)
}

// split returns the jobs that can be in a batch, and the others: one whose id another one has, since
// the stream would take both, and while ids turn out to be taken, all that have one of choice.
func (s *sender) split(jobs []int) (in, out []int) {
	ids := make(map[job.Place]bool)
	limit := s.store.payloadLimit()
	for _, i := range jobs {
		e := s.batch[i]
		if len(e.Record.Payload) > limit || e.Once && (s.withoutIDs > 0 || ids[e.place]) {
			out = append(out, i)
			continue
		}
		if e.Once {
			ids[e.place] = true
		}
		in = append(in, i)
	}
	s.withoutIDs = max(s.withoutIDs-1, 0)
	return in, out
}

// sendBatch reports whether jobs are stored, without the one whose id is taken: that is left to be sent
// by itself at the end, which tells. If there is a second one, all ids of choice are sent by themselves
// for a while, twice as long each time: each refusal costs as much as a batch.
func (s *sender) sendBatch(ctx context.Context, jobs []int) bool {
	for range 2 {
		began := time.Now()
		err := s.storeTogether(ctx, jobs)
		conflict, taken := errors.AsType[*stream.ConflictError](err)
		if !taken {
			s.pace.noteTogether(len(jobs), time.Since(began), err, time.Now())
			s.refused = 0
			return err == nil
		}
		if jobs = s.without(ctx, jobs, conflict.Seq); len(jobs) == 0 {
			break
		}
	}
	s.refused++
	s.withoutIDs = 1 << min(s.refused, maxWithoutIDsLog)
	return false
}

// without returns the jobs but for the one whose id the message seq has, none if that cannot be told.
func (s *sender) without(ctx context.Context, jobs []int, seq uint64) []int {
	m, err := s.store.client.Get(ctx, s.store.names.queueStream(s.batch[jobs[0]].place.Queue), seq)
	if err != nil {
		return nil
	}
	taken := s.store.names.placeOf(m.Subject)
	rest := slices.DeleteFunc(slices.Clone(jobs), func(i int) bool { return s.batch[i].place == taken })
	if len(rest) == len(jobs) {
		return nil
	}
	return rest
}

// storeTogether sends an atomic batch and waits for the answer.
func (b *bulk) storeTogether(ctx context.Context, jobs []int) error {
	batch := b.store.client.NewAtomicBatch()
	answer := make(batchAnswer, 1)
	var token uint64
	for n, i := range jobs {
		if ctx.Err() != nil {
			return ctx.Err() // and the batch is none
		}
		if !b.fill(i) {
			return b.errs[i]
		}
		var err error
		if n < len(jobs)-1 {
			_, err = batch.Stage(b.msg, nil)
		} else {
			token, err = batch.Commit(b.msg, answer)
		}
		if err != nil {
			return err
		}
	}
	for _, i := range jobs {
		b.items[i].sent = true
	}
	err := answer.wait(ctx, batch.Timeout())
	b.store.client.Forget(token)
	for _, i := range jobs {
		b.items[i].stored = err == nil
	}
	return err
}

// A batchAnswer receives the answer to a batch.
type batchAnswer chan error

// Answered implements [stream.Receiver].
func (a batchAnswer) Answered(_ uint64, err error) { a <- err }

// wait returns the answer. Once ctx has ended it waits a moment longer.
func (a batchAnswer) wait(ctx context.Context, within time.Duration) error {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case err := <-a:
		return err
	case <-timeout.C:
		return nats.ErrTimeout
	case <-ctx.Done():
		timeout.Reset(lastAnswers)
	}
	select {
	case err := <-a:
		return err
	case <-timeout.C:
		return ctx.Err()
	}
}
