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

// A Mux maps types of jobs to their handlers. Fill it before a worker is made with it. The zero
// value is empty and ready to use.
type Mux struct {
	types      map[string]registered
	middleware []Middleware
	err        error // the first mistake in what was registered: the worker's to tell
}

// registered is a type with its handler.
type registered struct {
	config TypeConfig
	direct worker.Handler // the handler without middleware
	inner  HandlerFunc    // the handler as the innermost middleware calls it
	batch  *worker.Batch  // the handler of many jobs; nil: it has the others
	pass   worker.Pass    // what passes its jobs on; nil: likewise
}

// A HandlerFunc runs one attempt of a job that is known as bytes, and returns its result
// as bytes: JSON by convention, at most about 1 MiB, and the worker's from then on. See [Handle] for what errors mean.
type HandlerFunc func(ctx context.Context, j *Job[Raw]) ([]byte, error)

// NewMux returns an empty mux.
func NewMux() *Mux { return &Mux{} }

// HandleFunc registers the handler of a type that is known as bytes, with at most one
// [TypeConfig]. It panics if the type's name breaks the rules or has a handler already. A nil
// handler, and a configuration that breaks a rule, is an [ErrInvalid] of [NewWorker].
func (m *Mux) HandleFunc(typ string, h HandlerFunc, config ...TypeConfig) {
	m.check(typ, h == nil)
	m.add(typ, config, registered{
		inner: h,
		direct: func(ctx context.Context, d *queue.Delivery, maxAttempts int) ([]byte, error) {
			return h(ctx, newRawJob(d, maxAttempts))
		},
	})
}

// newRawJob has a copy of the payload: what the handler does to it, now or after it was given
// up, is not to reach the job's next message.
func newRawJob(d *queue.Delivery, maxAttempts int) *Job[Raw] {
	j := newJob[Raw](d, maxAttempts)
	j.Args = Raw{Name: d.Type, Payload: bytes.Clone(d.Payload)}
	return j
}

// check notes that a handler is nil.
func (m *Mux) check(typ string, isNil bool) {
	if isNil {
		m.refuse(&job.InvalidError{What: "the handler of type " + typ, Rule: "is nil"})
	}
}

// refuse notes the first mistake.
func (m *Mux) refuse(err error) {
	if m.err == nil {
		m.err = err
	}
}

func (m *Mux) add(typ string, config []TypeConfig, r registered) {
	if err := job.CheckType(typ); err != nil {
		panic(fmt.Sprintf("millhand: %v", err))
	}
	if typ == job.WorkflowType {
		panic(fmt.Sprintf("millhand: type %s is that of workflows themselves, and every worker runs it", typ))
	}
	if _, ok := m.types[typ]; ok {
		panic(fmt.Sprintf("millhand: type %s has two handlers", typ))
	}
	switch len(config) {
	case 0:
	case 1:
		r.config = config[0]
		if err := r.config.check(typ); err != nil {
			m.refuse(about("type "+typ, err))
		}
	default:
		m.refuse(about("type "+typ, job.Invalid("configurations", len(config), "at most one is allowed")))
	}
	if m.types == nil {
		m.types = make(map[string]registered)
	}
	m.types[typ] = r
}

// Types returns the names of the types that have a handler, sorted.
func (m *Mux) Types() []string { return slices.Sorted(maps.Keys(m.types)) }

// build returns the types as a worker runs them, or the first mistake.
func (m *Mux) build() (map[string]worker.Type, error) {
	if m.err != nil {
		return nil, m.err
	}
	if len(m.types) == 0 {
		return nil, noHandler()
	}
	types := make(map[string]worker.Type)
	for typ, r := range m.types {
		settings := r.config.settings()
		if r.batch != nil {
			types[typ] = worker.Type{Batch: r.batch, Settings: settings}
			continue
		}
		if r.pass != nil {
			types[typ] = worker.Type{Pass: r.pass, Settings: settings}
			continue
		}
		h, err := m.wrap(r)
		if err != nil {
			return nil, err
		}
		types[typ] = worker.Type{Handler: h, Settings: settings}
	}
	return types, nil
}

// quotas returns those that stand beside handlers.
func (m *Mux) quotas() (all []Quota) {
	for _, typ := range m.Types() {
		for _, q := range m.types[typ].config.Quotas {
			all = append(all, q.of(typ))
		}
	}
	return all
}

// Handle registers the handler of a type whose payload decodes into T, with at most one
// [TypeConfig]. A payload that does not is a malformed job, which is dead at once. Handle panics
// like [Mux.HandleFunc], and for T an interface or [Raw].
//
// The handler may be called for the same job again, after a crash even at the same time:
// it must be idempotent, and the job's id is the key for that. A nil error ends the job.
// Any other one, and a panic, is a failed attempt, retried with backoff while there are
// attempts left; [Permanent], [RetryAfter], [Snooze] and [HandBack] say otherwise. The context ends
// when the job times out ([ErrTimeout]), when its worker stops ([ErrHandedBack]) or loses the job
// ([ErrLeaseLost]) or its permit ([ErrPermitLost]). A handler that ignores that for 10 s is given up:
// its slot is free again, its permit is not, and with more than MaxAbandoned of them the worker ends.
func Handle[T Args](m *Mux, h func(context.Context, *Job[T]) error, config ...TypeConfig) {
	m.check(newArgs[T]().Type(), h == nil)
	HandleResult(m, func(ctx context.Context, j *Job[T]) (struct{}, error) {
		return struct{}{}, h(ctx, j)
	}, config...)
}

// HandleResult is [Handle] for a handler with a result, which is stored as JSON with the
// job's end and returned by [AwaitResult].
func HandleResult[T Args, R any](m *Mux, h func(context.Context, *Job[T]) (R, error), config ...TypeConfig) {
	typ := newArgs[T]().Type()
	m.check(typ, h == nil)
	run := func(ctx context.Context, j *Job[T], payload []byte) ([]byte, error) {
		if err := decode(payload, &j.Args); err != nil {
			return nil, err
		}
		result, err := h(ctx, j)
		if err != nil {
			return nil, err
		}
		return encode(result)
	}
	m.add(typ, config, registered{
		direct: func(ctx context.Context, d *queue.Delivery, maxAttempts int) ([]byte, error) {
			return run(ctx, newJob[T](d, maxAttempts), d.Payload)
		},
		inner: func(ctx context.Context, j *Job[Raw]) ([]byte, error) {
			return run(ctx, jobOf[T](j), j.Args.Payload)
		},
	})
}

// encode returns a handler's result as it is stored, nil for struct{}.
func encode(result any) ([]byte, error) {
	if _, none := result.(struct{}); none {
		return nil, nil
	}
	b, err := json.Marshal(result)
	if err != nil {
		return nil, Permanent(fmt.Errorf("encode result: %w", err))
	}
	return b, nil
}

// newArgs returns arguments that are zero; if T is a pointer, a pointer to what is zero.
func newArgs[T Args]() (args T) {
	switch t := reflect.TypeFor[T](); t.Kind() { //nolint:exhaustive // what can be nil
	case reflect.Pointer:
		args, _ = reflect.TypeAssert[T](reflect.New(t.Elem())) // it is one
	case reflect.Interface:
		panic(fmt.Sprintf("millhand: %v is no type of job: it is an interface", t))
	}
	switch any(args).(type) {
	case Raw, *Raw:
		panic("millhand: Raw has a type only at run time: register its handler with HandleFunc")
	}
	return args
}

// CheckType returns an [*InvalidError] if name cannot be a type of job.
func CheckType(name string) error { return publicError(job.CheckType(name)) }
