package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
)

// refusalEvery is how often it is logged that ends do not get through.
const refusalEvery = 10 * time.Second

// refusals are the settlements that the broker does not take at the moment. What they wait for is
// logged.
type refusals struct {
	log *slog.Logger

	mu      sync.Mutex
	waiting map[*settlement]obstacle
	said    time.Time
}

// An obstacle is what one settlement waits for.
type obstacle struct {
	since time.Time // of the first attempt that failed
	what  string    // that cannot be written or read
	err   error     // of the latest attempt
}

// Refused says that ends of jobs do not get through to the broker. They are tried again.
type Refused struct {
	Ends   int
	Since  time.Time // when the first of them was refused
	What   string    // of that one, could not be written
	Reason string    // it was refused the last time
}

func (r *refusals) add(t *settlement, what string, err error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = make(map[*settlement]obstacle)
	}
	known, ok := r.waiting[t]
	if !ok {
		known.since = now
	}
	r.waiting[t] = obstacle{since: known.since, what: what, err: err}
	// A connection that was lost comes back mostly; an answer is one.
	unanswered := stream.Code(err) == 0 && !errors.Is(err, nats.ErrPermissionViolation)
	if now.Sub(r.said) < refusalEvery || unanswered && now.Sub(known.since) < refusalEvery {
		return
	}
	r.said = now
	s := r.summary()
	r.log.Warn("ends of jobs do not get through to the broker: trying again", slog.Int("count", s.Ends), slog.Time("since", s.Since),
		slog.String("queue", t.Queue), slog.String("type", t.Type), slog.String("id", t.ID),
		slog.String("what", what), slog.Any("err", err), slog.String("next", advice(err)))
}

func (r *refusals) drop(t *settlement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, t)
}

// now returns what waits, nil if nothing does.
func (r *refusals) now() *Refused {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return nil
	}
	s := r.summary()
	return &s
}

// summary must be called with mu held, and something waiting.
func (r *refusals) summary() Refused {
	s := Refused{Ends: len(r.waiting)}
	for t, w := range r.waiting {
		if s.Since.IsZero() || w.since.Before(s.Since) {
			s.Since, s.What, s.Reason = w.since, w.what+" of job "+t.ID+" of type "+t.Type, w.err.Error()
		}
	}
	return s
}

// advice says what there is to do about a refusal.
func advice(err error) string {
	if errors.Is(err, nats.ErrPermissionViolation) {
		return "allow this worker's user to publish it: docs/security.md lists what a worker needs"
	}
	switch stream.Code(err) {
	case 0:
		return "see whether the broker answers, and its log: it goes on by itself once it does"
	case stream.CodeNoResources, stream.CodeAccountFull, stream.CodeStorageFull, stream.CodeStoreFailed:
		return "make room or raise the limit of the store, the account or the stream: it goes on by itself then"
	case stream.CodeTooManyRequests:
		return "the stream has more to write than it can: it goes on by itself"
	default:
		return "see the broker's log: it goes on by itself once the broker takes it"
	}
}

// An UnsettledError says that a settler stopped before it had written the ends of jobs.
type UnsettledError struct {
	Jobs    []string // their ids, some of them
	More    int      // than those
	Refused *Refused // why, as far as the broker said
}

// maxUnsettledNamed bounds the ids in an [UnsettledError].
const maxUnsettledNamed = 3

func (e *UnsettledError) Error() string {
	names := strings.Join(e.Jobs, ", ")
	if e.More > 0 {
		names += fmt.Sprintf(" and %d more", e.More)
	}
	text := fmt.Sprintf("the end of job %s was not written: it is settled or run again elsewhere when its lease ends", names)
	if n := len(e.Jobs) + e.More; n != 1 {
		text = fmt.Sprintf("the ends of %d jobs were not written (%s): they are settled or run again elsewhere when their leases end", n, names)
	}
	if r := e.Refused; r != nil {
		text += fmt.Sprintf("; refused since %s: %s: %s", r.Since.UTC().Format(time.RFC3339), r.What, r.Reason)
	}
	return text
}

// Refused says which ends wait since the broker did not take them, nil if none does.
func (s *Settler) Refused() *Refused { return s.store.refused.now() }

// Left returns an [*UnsettledError] about what was handed to a settler that has stopped and
// is not written, nil if nothing is.
func (s *Settler) Left() error {
	ids, open := s.tracker.ids(maxUnsettledNamed)
	n := open + int(s.turnedAway.Load())
	if n == 0 {
		return nil
	}
	return &UnsettledError{Jobs: ids, More: n - len(ids), Refused: s.store.refused.now()}
}
