package millhand

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/worker"
)

// A Mux maps types of jobs to their handlers. Fill it before a worker runs with it. The zero
// value is empty and ready to use.
type Mux struct {
	handlers map[string]worker.Handler
	err      error // of what was registered: the worker's to tell
}

// A HandlerFunc runs one attempt of a job that is known as bytes, and returns its result
// as bytes: JSON by convention, at most about 1 MiB, and the worker's from then on. See [Handle] for what errors mean.
type HandlerFunc func(ctx context.Context, j *Job[Raw]) ([]byte, error)

// NewMux returns an empty mux.
func NewMux() *Mux { return &Mux{handlers: make(map[string]worker.Handler)} }

// HandleFunc registers the handler of a type that is known as bytes. It panics if the
// type's name breaks the rules or has a handler already. A nil handler is an [ErrInvalid] of
// [NewWorker].
func (m *Mux) HandleFunc(typ string, h HandlerFunc) {
	m.check(typ, h == nil)
	m.handle(typ, func(ctx context.Context, held *queue.Delivery, maxAttempts int) ([]byte, error) {
		j := newJob[Raw](held, maxAttempts)
		// A copy: what the handler does to it, now or after it was given up, is not to reach
		// the job's next message.
		j.Args = Raw{Name: held.Type, Payload: bytes.Clone(held.Payload)}
		return h(ctx, j)
	})
}

// check notes that a handler is nil.
func (m *Mux) check(typ string, isNil bool) {
	if isNil && m.err == nil {
		m.err = fmt.Errorf("the handler of type %s is nil", typ)
	}
}

func (m *Mux) handle(typ string, h worker.Handler) {
	if err := job.CheckType(typ); err != nil {
		panic(fmt.Sprintf("millhand: %v", err))
	}
	if _, ok := m.handlers[typ]; ok {
		panic(fmt.Sprintf("millhand: type %s has two handlers", typ))
	}
	if m.handlers == nil {
		m.handlers = make(map[string]worker.Handler)
	}
	m.handlers[typ] = h
}

// Types returns the names of the types that have a handler, sorted.
func (m *Mux) Types() []string { return slices.Sorted(maps.Keys(m.handlers)) }

// Handle registers the handler of a type whose payload decodes into T. A payload that
// does not is a malformed job, which is dead at once. Handle panics like
// [Mux.HandleFunc].
//
// The handler may be called for the same job again, after a crash even at the same time:
// it must be idempotent, and the job's id is the key for that. A nil error ends the job.
// Any other one, and a panic, is a failed attempt, retried with backoff while there are
// attempts left; [Permanent], [RetryAfter], [Snooze] and [HandBack] say otherwise. The context ends
// when the job times out ([ErrTimeout]), when its worker stops ([ErrHandedBack]) or loses
// it ([ErrLeaseLost]); a handler that ignores that holds its slot until it returns.
func Handle[T Args](m *Mux, h func(context.Context, *Job[T]) error) {
	m.check(newArgs[T]().Type(), h == nil)
	HandleResult(m, func(ctx context.Context, j *Job[T]) (struct{}, error) {
		return struct{}{}, h(ctx, j)
	})
}

// HandleResult is [Handle] for a handler with a result, which is stored as JSON with the
// job's end and returned by [AwaitResult].
func HandleResult[T Args, R any](m *Mux, h func(context.Context, *Job[T]) (R, error)) {
	typ := newArgs[T]().Type()
	m.check(typ, h == nil)
	m.handle(typ, func(ctx context.Context, held *queue.Delivery, maxAttempts int) ([]byte, error) {
		j := newJob[T](held, maxAttempts)
		if err := json.Unmarshal(held.Payload, &j.Args); err != nil {
			return nil, &job.MalformedError{Err: err}
		}
		if isNil(j.Args) { // the payload is null
			j.Args = newArgs[T]()
		}
		result, err := h(ctx, j)
		if err != nil {
			return nil, err
		}
		if _, none := any(result).(struct{}); none {
			return nil, nil
		}
		b, err := json.Marshal(result)
		if err != nil {
			return nil, Permanent(fmt.Errorf("encode result: %w", err))
		}
		return b, nil
	})
}

// newArgs returns arguments that are zero; if T is a pointer, a pointer to what is zero.
func newArgs[T Args]() (args T) {
	switch t := reflect.TypeFor[T](); t.Kind() { //nolint:exhaustive // what can be nil
	case reflect.Pointer:
		args, _ = reflect.TypeAssert[T](reflect.New(t.Elem())) // it is one
	case reflect.Interface:
		panic(fmt.Sprintf("millhand: %v is no type of job: it is an interface", t))
	}
	return args
}

// CheckType returns an error that is [ErrInvalid] if name cannot be a type of job.
func CheckType(name string) error { return publicError(job.CheckType(name)) }
