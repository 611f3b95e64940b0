package worker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// The order of the cases is what this table is about: where several apply, the first one decides.
func TestOutcome(t *testing.T) {
	const attempts = 3
	var (
		failed    = errors.New("failed")
		panicked  = &job.PanicError{Value: "boom", Stack: "here"}
		permanent = &job.PermanentError{Err: failed}
		malformed = &job.MalformedError{Err: failed}
		back      = &job.HandBackError{Err: failed}
		snooze    = &job.LaterError{Err: failed, Delay: time.Minute}
		later     = &job.LaterError{Err: failed, Delay: time.Hour, Attempt: true}
		settings  = Settings{MaxAttempts: attempts, Timeout: time.Second, Backoff: job.Backoff{Initial: 5 * time.Second, Jitter: -1}}
	)
	retrying := func(text string, delay time.Duration) queue.Outcome {
		return queue.Outcome{Kind: job.EventRetrying, Error: text, Delay: delay}
	}
	dead := func(reason, text string) queue.Outcome {
		return queue.Outcome{Kind: job.EventDead, Reason: reason, Error: text}
	}
	handedBack := queue.Outcome{Kind: job.EventHandedBack}
	for _, tt := range []struct {
		name       string
		attempt    int
		err, cause error
		want       queue.Outcome
	}{
		{"failed", 1, failed, nil, retrying("failed", 5*time.Second)},
		{"failed again", 2, failed, nil, retrying("failed", 10*time.Second)},
		{"failed for the last time", attempts, failed, nil, dead(job.ReasonExhausted, "failed")},
		{"timed out", 1, failed, job.ErrTimeout, retrying("timed out after 1s: failed", 5*time.Second)},
		{"lease lost", 1, failed, job.ErrLeaseLost, retrying("failed", 5*time.Second)}, // which is not kept

		{"drained", 1, failed, job.ErrHandedBack, handedBack},
		{"drained at the last attempt", attempts, failed, job.ErrHandedBack, handedBack},
		{"permit lost", 1, failed, job.ErrPermitLost, handedBack},
		{"snoozes and is drained", 1, snooze, job.ErrHandedBack, handedBack},
		{"panics and is drained", 1, panicked, job.ErrHandedBack, queue.Outcome{Kind: job.EventRetrying, Error: "panic: boom", Stack: "here", Delay: 5 * time.Second}},
		{"gives it up and is drained", 1, permanent, job.ErrHandedBack, dead(job.ReasonPermanent, "failed")},

		{"hands it back", attempts, back, nil, queue.Outcome{Kind: job.EventHandedBack, Error: "failed"}},
		{"hands it back, wrapped", 1, fmt.Errorf("outer: %w", back), nil, queue.Outcome{Kind: job.EventHandedBack, Error: "outer: failed"}},
		{"hands it back too late", 1, back, job.ErrTimeout, queue.Outcome{Kind: job.EventHandedBack, Error: "failed"}},
		{"hands back what is permanent", 1, errors.Join(permanent, back), nil, queue.Outcome{Kind: job.EventHandedBack, Error: "failed\nfailed"}},

		{"snoozes", attempts, snooze, nil, queue.Outcome{Kind: job.EventSnoozed, Delay: time.Minute}},
		{"snoozes for no time", 1, &job.LaterError{Err: failed, Delay: -1}, nil, queue.Outcome{Kind: job.EventSnoozed, Delay: time.Millisecond}},

		{"malformed", 1, malformed, nil, dead(job.ReasonMalformed, "payload: failed")},
		{"malformed at the last attempt", attempts, malformed, nil, dead(job.ReasonMalformed, "payload: failed")},
		{"permanent", 1, permanent, nil, dead(job.ReasonPermanent, "failed")},
		{"permanent at the last attempt", attempts, permanent, nil, dead(job.ReasonPermanent, "failed")},
		{"permanent, and later", 1, &job.LaterError{Err: permanent, Delay: time.Hour, Attempt: true}, nil, dead(job.ReasonPermanent, "failed")},

		{"later", 1, later, nil, retrying("failed", time.Hour)},
		{"later for no time", 1, &job.LaterError{Err: failed, Delay: -1, Attempt: true}, nil, retrying("failed", 0)},
		{"later at the last attempt", attempts, later, nil, dead(job.ReasonExhausted, "failed")},
	} {
		if diff := cmp.Diff(tt.want, outcome(tt.attempt, settings, tt.err, tt.cause)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
