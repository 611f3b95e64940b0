package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/timespan"
)

// addBuiltin registers types to try Millhand with.
func addBuiltin(m *millhand.Mux) {
	m.HandleFunc("echo", echo)
	millhand.Handle(m, nap)
	millhand.HandleResult(m, fail)
	millhand.Handle(m, crash)
}

// echo returns its payload.
func echo(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	return j.Args.Payload, nil
}

// sleepArgs makes a job that takes its time.
type sleepArgs struct {
	For string `json:"for"` // a duration
}

func (sleepArgs) Type() string { return "sleep" }

func nap(ctx context.Context, j *millhand.Job[sleepArgs]) error {
	d, err := timespan.Parse(j.Args.For)
	switch {
	case errors.Is(err, timespan.ErrTooLong):
		return millhand.Permanent(errors.New("for: too long: at most " + timespan.LongestText))
	case err != nil || d < 0:
		return millhand.Permanent(errors.New(`want {"for":"50ms"}, with a duration of 0 or more`)) // err quotes the payload
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// flakyArgs makes a job that fails this many attempts.
type flakyArgs struct {
	Fail int `json:"fail"`
}

func (flakyArgs) Type() string { return "flaky" }

func fail(_ context.Context, j *millhand.Job[flakyArgs]) (string, error) {
	if j.Attempt <= j.Args.Fail {
		return "", fmt.Errorf("attempt %d of a job that fails %d times", j.Attempt, j.Args.Fail)
	}
	return fmt.Sprintf("succeeded at attempt %d", j.Attempt), nil
}

// crashArgs makes a job that panics.
type crashArgs struct {
	Args json.RawMessage `json:"args,omitempty"` // anything
}

func (crashArgs) Type() string { return "crash" }

func crash(_ context.Context, j *millhand.Job[crashArgs]) error {
	panic("job " + j.ID + " crashes, as it was asked to")
}
