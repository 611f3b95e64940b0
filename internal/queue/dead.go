package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A DeadJob is a dead job as its record in the stream has it.
type DeadJob struct {
	job.Record // as in its last message

	Seq             uint64 // of the record
	DiedAt          time.Time
	Reason          string
	Failures        []Failure // oldest first
	FailuresOmitted int       // older ones, for which there was no room
	PayloadOmitted  int       // bytes of the payload, if there was no room for that; 0: it is there
	Origin          string    // the subject on which it came, of what was published as no job
}

// lastError is the text of the failure that it died of, as far as that is known.
func (d *DeadJob) lastError() string {
	if len(d.Failures) == 0 {
		return ""
	}
	return d.Failures[len(d.Failures)-1].Error
}

// A DeadFilter says which dead jobs are meant. The zero value is all of them.
type DeadFilter struct {
	Queue, Type, ID string    // empty: any
	Reason          string    // empty: any
	Error           string    // is in the text of the last failure
	Since, Until    time.Time // of the death, Until not included; zero: any
}

// check returns a [*job.InvalidError] for what could match nothing.
func (f DeadFilter) check() error {
	for _, name := range []struct {
		value string
		check func(string) error
	}{{f.Queue, job.CheckQueue}, {f.Type, job.CheckType}, {f.ID, job.CheckID}} {
		if name.value == "" {
			continue
		}
		if err := name.check(name.value); err != nil {
			return err
		}
	}
	if err := checkDeadReason(f.Reason); err != nil {
		return err
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return job.Invalid("until", f.Until.UTC().Format(time.RFC3339), "must be after since, which is %s", f.Since.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkDeadReason returns a [*job.InvalidError] for a reason that no dead job has; none is fine.
func checkDeadReason(reason string) error {
	const want = "want exhausted, permanent, expired, malformed, crashed, step or undo"
	switch reason {
	case "", job.ReasonExhausted, job.ReasonPermanent, job.ReasonExpired, job.ReasonMalformed, job.ReasonCrashed, job.ReasonStep, job.ReasonUndo:
		return nil
	case job.ReasonSuperseded, job.ReasonMissed, job.ReasonRequested, job.ReasonDeadline:
		return job.Invalid("reason", reason, "is one of a cancelled job: "+want)
	}
	return job.Invalid("reason", reason, want)
}

// byName reports whether names are all that f asks for, so that it is a subject.
func (f DeadFilter) byName() bool {
	return f.Reason == "" && f.Error == "" && f.Since.IsZero() && f.Until.IsZero()
}

func (f DeadFilter) matches(d *DeadJob) bool {
	return (f.Reason == "" || f.Reason == d.Reason) &&
		(f.Since.IsZero() || !d.DiedAt.Before(f.Since)) &&
		(f.Until.IsZero() || d.DiedAt.Before(f.Until)) &&
		strings.Contains(d.lastError(), f.Error)
}

// Dead yields the dead jobs that there are now and that match, oldest first, the error last. Those
// that are removed meanwhile may still be among them.
func (s *Store) Dead(ctx context.Context, f DeadFilter) iter.Seq2[*DeadJob, error] {
	return func(yield func(*DeadJob, error) bool) {
		upTo, err := s.lastOfDead(ctx, f)
		if err != nil {
			yield(nil, err)
			return
		}
		for m, err := range s.client.Scan(ctx, s.names.deadStream(), stream.Scan{Subject: s.names.deadOf(f), UpTo: upTo}) {
			if err != nil {
				yield(nil, err)
				return
			}
			if d := s.deadJob(m); f.matches(d) && !yield(d, nil) {
				return
			}
		}
	}
}

// lastOfDead returns the sequence of the newest record, of whichever job, 0 without any: what
// dies later is not meant. It checks the filter first.
func (s *Store) lastOfDead(ctx context.Context, f DeadFilter) (uint64, error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	info, err := s.client.Info(ctx, s.names.deadStream())
	if stream.Code(err) == stream.CodeStreamNotFound {
		return 0, nil // nothing has ever been enqueued
	}
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// CountDead returns how many dead jobs match. Of a filter of names alone it costs one request;
// otherwise all that have the names are read.
func (s *Store) CountDead(ctx context.Context, f DeadFilter) (n int, err error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	if f.byName() {
		count, err := s.client.Count(ctx, s.names.deadStream(), s.names.deadOf(f))
		if err == nil {
			return int(count), nil //nolint:gosec // fewer than fit into memory
		}
		if Hopeless(err) {
			return 0, err
		}
	}
	for _, err := range s.Dead(ctx, f) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// PurgeDead removes the records of the dead jobs that there are now and that match, and returns how
// many there were. What happened to these jobs stays in their events.
func (s *Store) PurgeDead(ctx context.Context, f DeadFilter) (n int, err error) {
	upTo, err := s.lastOfDead(ctx, f)
	if err != nil || upTo == 0 {
		return 0, err
	}
	if f.byName() {
		removed, err := s.client.Purge(ctx, s.names.deadStream(), stream.Purge{Subject: s.names.deadOf(f), Below: upTo + 1})
		return int(removed), wrap(err, "remove dead jobs") //nolint:gosec // fewer than fit into memory
	}
	g, removing := errgroup.WithContext(ctx)
	g.SetLimit(removalsAtOnce)
	for d, err := range s.Dead(removing, f) {
		if err != nil {
			return n, cmp.Or(g.Wait(), err)
		}
		n++
		g.Go(func() error { return s.RemoveDead(removing, d.Seq) })
	}
	return n, g.Wait()
}

// removalsAtOnce is how many removals of records are in flight.
const removalsAtOnce = 128

// removePatience is how long the removal of a record is tried. Of a job that is requeued there is
// nothing else left to be done, and of many at a time some wait for the others.
const removePatience = 30 * time.Second

// RemoveDead removes the record of a dead job, by its sequence. It is no error if that is gone.
func (s *Store) RemoveDead(ctx context.Context, seq uint64) error {
	alive := stream.Within(removePatience)
	for pause := stream.RetryPause; ; pause = min(2*pause, stream.MaxRetryPause) {
		err := s.client.Remove(ctx, s.names.deadStream(), seq)
		if err == nil || Hopeless(err) || ctx.Err() != nil || alive() != nil {
			return wrap(err, "remove dead record %d", seq)
		}
		if err := stream.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// deadJob reads a record. What cannot be read of one that somebody else wrote is left out.
func (s *Store) deadJob(m *stream.Message) *DeadJob {
	d := &DeadJob{Seq: m.Seq, DiedAt: m.Time.UTC(), Reason: m.Header.Get(headerReason), Origin: m.Header.Get(headerSubject)}
	if r, ok := s.names.parseDeadSubject(m.Subject); ok {
		d.Record = r
	}
	_ = d.ReadHeader(m.Header)
	if d.Life == "" {
		d.Life = lifeOf(m.Seq)
	}
	_ = json.Unmarshal([]byte(m.Header.Get(headerErrors)), &d.Failures)
	d.FailuresOmitted, _ = strconv.Atoi(m.Header.Get(headerErrorsOmitted))
	d.PayloadOmitted, _ = strconv.Atoi(m.Header.Get(headerPayloadOmitted))
	d.Payload = m.Data
	return d
}

// readDead returns the dead job whose record has a sequence, or [ErrNotFound].
func (s *Store) readDead(ctx context.Context, seq uint64) (*DeadJob, error) {
	m, err := stream.RetryRead(ctx, s.patience(), func(ctx context.Context) (*stream.Message, error) {
		return s.client.Get(ctx, s.names.deadStream(), seq)
	})
	if err != nil {
		return nil, err
	}
	return s.deadJob(m), nil
}
