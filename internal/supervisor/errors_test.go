package supervisor

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestErrorsSayWhatHappened(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{
			&IntensityError{Supervisor: "queue", Child: "puller", MaxRestarts: 3, Within: 5 * time.Second, Err: errBoom},
			"queue: restart intensity exceeded: more than 3 in 5s, last puller: boom",
		},
		{
			&IntensityError{Supervisor: "queue", Child: "puller", MaxRestarts: 0, Within: time.Second},
			"queue: restart intensity exceeded: more than 0 in 1s, last puller: normal",
		},
		{&StartError{Supervisor: "worker", Child: "broker", Err: errBoom}, "worker: start broker: boom"},
		{&DownError{Server: "quota", Err: errBoom}, "server quota ended during the call: boom"},
		{&DownError{Server: "quota"}, "server quota ended during the call: normal"},
		{&PanicError{Value: 7}, "panic: 7"},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("error = %q, want %q", got, test.want)
		}
	}
}

func TestCleanEnds(t *testing.T) {
	failedCleanup := func(reason error) error { return &cleanupError{reason, newPanicError("clean-up")} }
	tests := []struct {
		err                   error
		byItself, whenStopped bool
	}{
		{nil, true, true},
		{ErrShutdown, true, true},
		{fmt.Errorf("x: %w", ErrShutdown), true, true},
		{&IntensityError{}, true, true},
		{fmt.Errorf("read: %w", context.Canceled), false, true},
		{errBoom, false, false},
		{newPanicError("oops"), false, false},
		{newPanicError(ErrShutdown), false, false},
		{fmt.Errorf("x: %w", newPanicError(fmt.Errorf("x: %w", ErrShutdown))), false, false},
		{&IntensityError{Err: newPanicError("oops")}, true, false},
		{failedCleanup(nil), true, false},
		{failedCleanup(ErrShutdown), true, false},
		{failedCleanup(errBoom), false, false},
	}
	for _, test := range tests {
		if got := clean(test.err); got != test.byItself {
			t.Errorf("clean(%v) = %t, want %t", test.err, got, test.byItself)
		}
		if got := stoppedCleanly(test.err); got != test.whenStopped {
			t.Errorf("stoppedCleanly(%v) = %t, want %t", test.err, got, test.whenStopped)
		}
	}
}
