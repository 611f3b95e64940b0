package millhand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// Config is what clients and workers have in common. The zero value is usable.
type Config struct {
	Namespace string // first token of every subject; default "millhand"
	Domain    string // JetStream domain, if the broker has one
	// MaxBytes limits each stream that is made, in bytes, for an account that demands a limit;
	// 0: none. A queue that reaches it loses its oldest jobs, so make it large.
	MaxBytes int64
	Logger   *slog.Logger // default [slog.Default]
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default() //nolint:forbidigo // the one place that reads the default
	}
	return c.Logger
}

// jetStream returns the one client of JetStream that the parts of a client or worker share.
func (c Config) jetStream(nc *nats.Conn) (*stream.Client, error) {
	return stream.New(nc, stream.Config{Namespace: c.Namespace, Domain: c.Domain, MaxBytes: c.MaxBytes, Logger: c.logger()})
}

// A Client enqueues jobs and asks about them. It is safe for concurrent use.
type Client struct {
	js       *stream.Client
	store    *queue.Store
	registry *registry.Store
}

// NewClient returns a client over nc, which stays the caller's to close. It does no
// I/O: streams that do not exist are made by the first enqueue. However many clients and
// workers share a connection, their writes have one subscription there, which goes with the
// last of them that is closed, or with the connection.
func NewClient(nc *nats.Conn, cfg Config) (*Client, error) {
	if nc == nil {
		return nil, errNoConnection
	}
	js, err := cfg.jetStream(nc)
	if err != nil {
		return nil, publicError(err)
	}
	r := registry.NewStore(js, cfg.logger())
	return &Client{js: js, store: queue.NewStore(js, queue.Config{Registry: r.Bucket(), Logger: cfg.logger()}), registry: r}, nil
}

// errNoConnection says that there is nothing to work over.
var errNoConnection = fmt.Errorf("%w: the connection is nil", ErrInvalid)

// Close lets go of what the client keeps on its connection, which stays open. It is for those
// that make many clients over one connection: others close the connection.
func (c *Client) Close() { c.js.Close() }

// Enqueue stores a job and returns when the broker has it on its terms of durability.
//
// It returns [ErrInvalid] for a job that breaks a rule, [ErrDuplicate] for an id of
// the caller's choice that is alive, and with [WithRejectAtQuota] an [*ErrQuotaReached]. With
// [ErrNotSent], since ctx had ended before, it is surely not stored. With any other error it may or may not be; only a caller who chose the id can try again without risk.
func (c *Client) Enqueue(ctx context.Context, args Args, opts ...EnqueueOption) (Ref, error) {
	e, err := newEnqueue(args, opts)
	if err != nil {
		return Ref{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := c.enqueue(ctx, e); err != nil {
		return Ref{}, publicError(err)
	}
	return refOf(e.Record), nil
}

func (c *Client) enqueue(ctx context.Context, e queue.Enqueue) error {
	if err := c.store.Know(e.Record.Queue); err != nil {
		return err
	}
	if e.Limited {
		if err := c.findQuota(ctx, &e); err != nil {
			return err
		}
	}
	return c.store.Enqueue(ctx, e)
}

// findQuota fills in the quota at which a job is refused. Without one it is not.
func (c *Client) findQuota(ctx context.Context, e *queue.Enqueue) error {
	limit, limited, err := c.registry.Limit(ctx, registry.PoolKey{Kind: registry.OfType, Name: e.Record.Type})
	e.Limit, e.Limited = limit.Jobs, limited
	if _, badName := errors.AsType[*job.NameError](err); badName {
		return nil // which the job's own check tells
	}
	return err
}

// A Request is one job of an [Client.EnqueueMany].
type Request struct {
	Args    Args
	Options []EnqueueOption
}

// EnqueueMany stores jobs with their writes in flight together; a few thousand at a time
// is a good number. refs[i] belongs to batch[i]. It is not all or nothing: a
// [*BatchError] tells which were refused, and their refs are zero. Once ctx has ended, no more
// are sent: those are [ErrNotSent].
func (c *Client) EnqueueMany(ctx context.Context, batch []Request) (refs []Ref, err error) {
	refs = make([]Ref, len(batch))
	errs := make([]error, len(batch))
	var good []queue.Enqueue
	var at []int // index in batch
	for i, r := range batch {
		e, err := newEnqueue(r.Args, r.Options)
		if err == nil {
			err = c.store.Know(e.Record.Queue)
		}
		if err != nil {
			errs[i] = fmt.Errorf("%w: %w", ErrInvalid, err)
			continue
		}
		if e.Limited {
			if err := c.findQuota(ctx, &e); err != nil {
				errs[i] = publicError(err)
				continue
			}
		}
		good, at = append(good, e), append(at, i)
	}
	failed := len(good) < len(batch)
	for n, err := range c.store.EnqueueMany(ctx, good) {
		if err != nil {
			errs[at[n]], failed = publicError(err), true
			continue
		}
		refs[at[n]] = refOf(good[n].Record)
	}
	if failed {
		return refs, &BatchError{Errs: errs}
	}
	return refs, nil
}

func newEnqueue(args Args, opts []EnqueueOption) (queue.Enqueue, error) {
	if isNil(args) {
		return queue.Enqueue{}, errors.New("no arguments: they are nil")
	}
	o := enqueueOptions{Record: job.Record{Queue: job.DefaultQueue, Type: args.Type(), Life: uuid.NewString(), Attempt: 1}}
	for i, set := range opts {
		if set == nil {
			return queue.Enqueue{}, fmt.Errorf("option %d of %d is nil", i+1, len(opts))
		}
		set(&o)
	}
	r := &o.Record
	e := queue.Enqueue{Record: r, Once: o.chosenID, Limited: o.rejectAtQuota}
	if o.err != nil {
		return e, o.err
	}
	if !o.chosenID {
		id, err := uuid.NewV7() // ordered by time, for people who look at lists
		if err != nil {
			return e, fmt.Errorf("new id: %w", err)
		}
		r.ID = id.String()
	}
	if err := r.Check(); err != nil {
		return e, err
	}
	var err error
	if raw, ok := args.(Raw); ok {
		r.Payload = raw.Payload
	} else if r.Payload, err = json.Marshal(args); err != nil {
		return e, fmt.Errorf("payload of type %s: %w", r.Type, err)
	}
	return e, nil
}

// isNil reports whether args are nothing, or a pointer to nothing, which cannot say its type.
func isNil(args Args) bool {
	v := reflect.ValueOf(args)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

// Get returns what is known about a job, [ErrNotFound], or [ErrInvalid] for a ref that can name
// no job.
func (c *Client) Get(ctx context.Context, ref Ref) (Info, error) {
	ref, place, err := ref.checked()
	if err != nil {
		return Info{}, err
	}
	info := Info{Ref: ref}
	m, err := c.store.Find(ctx, place)
	if err != nil && !errors.Is(err, queue.ErrNotFound) {
		return Info{}, publicError(err)
	}
	if err == nil && (ref.Life == "" || ref.Life == m.Life) {
		info.addWaiting(m)
	}
	history, err := c.store.History(ctx, place, info.Life)
	if err != nil {
		return Info{}, publicError(err)
	}
	if info.Life == "" && len(history) > 0 {
		info.Life = history[len(history)-1].Life
	}
	for _, e := range history {
		if e.Life == info.Life {
			info.addEvent(&e)
		}
	}
	if info.State == "" {
		return Info{}, ErrNotFound
	}
	return info, nil
}

// checked returns r with its defaults and the place that it names, or an [ErrInvalid].
func (r Ref) checked() (Ref, job.Place, error) {
	if r.Queue == "" {
		r.Queue = job.DefaultQueue
	}
	p, err := job.PlaceOf(r.Queue, r.Type, r.ID)
	return r, p, publicError(err)
}

// Await waits until a job has ended and returns how. The error is nil if it succeeded,
// a [*FailedError] if it is dead, [ErrCancelled], [ErrNotFound] if no such job is
// known, [ErrInvalid] for a ref that can name none, or the cause of ctx's end, which leaves the job as it is: Await may be
// called again, from anywhere.
func (c *Client) Await(ctx context.Context, ref Ref) (Info, error) {
	ref, place, err := ref.checked()
	if err != nil {
		return Info{}, err
	}
	e, err := c.store.AwaitFinal(ctx, place, ref.Life)
	if err != nil {
		if ctx.Err() != nil {
			return Info{}, err
		}
		return Info{}, publicError(err)
	}
	info := Info{Ref: ref}
	info.addEvent(e)
	if info.State == Dead {
		return info, &FailedError{Ref: info.Ref, Attempts: info.Attempt, Reason: info.Reason, Message: info.LastError()}
	}
	if info.State == Cancelled {
		return info, ErrCancelled
	}
	return info, nil
}

// AwaitResult is [Client.Await] for a job whose result is JSON of type R.
func AwaitResult[R any](ctx context.Context, c *Client, ref Ref) (R, error) {
	var result R
	info, err := c.Await(ctx, ref)
	if err != nil || len(info.Result) == 0 {
		return result, err
	}
	if err := json.Unmarshal(info.Result, &result); err != nil {
		return result, fmt.Errorf("millhand: result of job %s: %w", ref.ID, err)
	}
	return result, nil
}
