package supervisor

import (
	"context"
	"fmt"
	"time"
)

// Reply is where the answer to a call goes. It travels in the message and may be kept to answer
// later, from any goroutine. Only the first answer counts, and one that comes too late is dropped.
type Reply[R any] struct{ to chan<- answer[R] }

type answer[R any] struct {
	value R
	err   error
}

// Send answers the call.
func (r Reply[R]) Send(value R) { r.send(answer[R]{value: value}) }

// Fail answers the call with an error, which does not end the server.
func (r Reply[R]) Fail(err error) { r.send(answer[R]{err: err}) }

func (r Reply[R]) send(a answer[R]) {
	select {
	case r.to <- a:
	default: // a second answer, or the zero Reply of a message that was cast
	}
}

// DownError is the answer to a call whose server ended before it replied.
type DownError struct {
	Server string
	Err    error // how it ended; nil if normally
}

// Error names the server and its end.
func (e *DownError) Error() string {
	return fmt.Sprintf("server %s ended during the call: %s", e.Server, reason(e.Err))
}

// Unwrap returns how the server ended.
func (e *DownError) Unwrap() error { return e.Err }

// Call sends the message that build makes around a Reply, and waits for the answer until ctx is
// done, or for 5 s if ctx has no deadline. Giving up does not take the message back: the server
// handles it all the same.
//
// It returns the error the handler answered with; [ErrTimeout], or ctx's error if it was cancelled;
// [ErrNotRunning] if there was no server to call; a [*DownError] if it ended during the call. A
// handler must not call its own server.
func Call[R, M any](ctx context.Context, s *Server[M], build func(Reply[R]) M) (R, error) {
	answers := make(chan answer[R], 1)
	var expired <-chan time.Time
	if _, ok := ctx.Deadline(); !ok {
		timer := time.NewTimer(DefaultTimeout)
		defer timer.Stop()
		expired = timer.C
	}
	var zero R
	r, err := s.send(ctx, expired, envelope[M]{msg: build(Reply[R]{to: answers})})
	if err != nil {
		return zero, err
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-r.done:
	case <-expired:
		return zero, fmt.Errorf("call %s: %w", s.spec.Name, ErrTimeout)
	case <-ctx.Done():
		return zero, fmt.Errorf("call %s: %w", s.spec.Name, waitError(ctx))
	}
	select {
	case a := <-answers: // it answered before it ended
		return a.value, a.err
	default:
		return zero, &DownError{Server: s.spec.Name, Err: r.err}
	}
}
