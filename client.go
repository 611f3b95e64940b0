package millhand

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/arrival"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// Config is what clients and workers have in common. The zero value is usable.
type Config struct {
	// Namespace is the first token of every subject and stream, at most 64 of A-Z a-z 0-9 _ -.
	// Clients and workers with different namespaces know nothing of each other. Defaults to
	// "millhand".
	Namespace string

	// Domain is the JetStream domain that holds the streams, for a connection to a leaf node of
	// another domain or of none. Defaults to that of the server.
	Domain string

	// MaxBytes limits each stream that is made, in bytes, for an account that demands a limit. A
	// queue that reaches it loses its oldest jobs, so make it large. Defaults to no limit.
	MaxBytes int64

	// Patience is how long an enqueue waits for a broker that does not answer before it gives up.
	// Defaults to 4 s, within which most restarts are over; a cluster may take 10 s to agree on a new
	// leader. If it is negative, an enqueue waits until its context ends. A worker has no use for it.
	Patience time.Duration

	// Logger is told what is out of the ordinary. Defaults to [slog.Default].
	Logger *slog.Logger
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default() //nolint:forbidigo // the one place that reads the default
	}
	return c.Logger
}

// jetStream returns the one client of JetStream that the parts of a client or worker share.
func (c Config) jetStream(nc *nats.Conn, wrote func(subject string, took time.Duration)) (*stream.Client, error) {
	return stream.New(nc, stream.Config{Namespace: c.Namespace, Domain: c.Domain, MaxBytes: c.MaxBytes, Logger: c.logger(), Wrote: wrote})
}

// A Client enqueues jobs and asks about them. It is safe for concurrent use. Make it with
// [NewClient]: the zero value is not usable.
type Client struct {
	js       *stream.Client
	store    *queue.Store
	registry *registry.Store
	view     *view.View
	flows    *arrival.Store
	log      *slog.Logger
	cfg      Config

	scaling    scaling
	unlimited  unlimitedTypes
	middleware []EnqueueMiddleware
	chain      EnqueueFunc // nil if there is no middleware
}

// NewClient returns a client over nc, which stays the caller's to close. It does no
// I/O: streams that do not exist are made by the first enqueue. However many clients and
// workers share a connection, their writes have one subscription there, which goes with the
// last of them that is closed, or with the connection.
func NewClient(nc *nats.Conn, cfg Config) (*Client, error) {
	if nc == nil {
		return nil, noConnection()
	}
	js, err := cfg.jetStream(nc, nil)
	if err != nil {
		return nil, publicError(err)
	}
	r := registry.NewStore(js, cfg.logger())
	s := queue.NewStore(js, queue.Config{Registry: r.Bucket(), Patience: cfg.Patience, Logger: cfg.logger()})
	cfg.Namespace, cfg.Logger = js.Namespace(), cfg.logger()
	counted := stats.NewStore(js, cfg.logger())
	starts := func(ctx context.Context, queue, typ string) (float64, error) {
		return counted.StartRate(ctx, tally.Pair{Queue: queue, Type: typ}, time.Now())
	}
	v := view.New(view.Config{Client: js, Store: s, Registry: r, Starts: starts})
	return &Client{
		js: js, store: s, registry: r, view: v, flows: arrival.New(js, s, r, cfg.Logger), log: cfg.Logger, cfg: cfg,
		scaling: scaling{view: v, stats: counted},
	}, nil
}

// Close lets go of what the client keeps on its connection, which stays open. It is for those
// that make many clients over one connection: others close the connection.
func (c *Client) Close() { c.js.Close() }

// Conn returns the connection that the client was made with.
func (c *Client) Conn() *nats.Conn { return c.js.Conn() }

// Config returns what the client was made with, with the default namespace and logger filled in.
func (c *Client) Config() Config { return c.cfg }

// Enqueue stores a job and returns when the broker has it on its terms of durability.
//
// It returns an [*InvalidError] for a job that breaks a rule, a [*DuplicateError] for an id of
// the caller's choice that is alive, with [WithRejectAtQuota] a [*QuotaError], [ErrStoreFull]
// if the broker has no room, and [ErrNotSent] if ctx had ended before. Then the job is
// certainly not stored. After any other error it may or may not be ([MaybeStored]), and only a
// caller who chose the id can try again without risk.
func (c *Client) Enqueue(ctx context.Context, args Args, opts ...EnqueueOption) (Ref, error) {
	o, err := newOptions(args, opts)
	switch {
	case err != nil:
		err = publicError(err)
	case c.chain == nil:
		err = c.storeOne(ctx, o)
	default:
		err = c.throughMiddleware(ctx, []*enqueueOptions{o})[0]
	}
	if err != nil {
		return Ref{}, err
	}
	return refOf(&o.Record), nil
}

// A Request is one job for [Client.EnqueueMany] and [Client.EnqueueAtomic].
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
	jobs, at := make([]*enqueueOptions, 0, len(batch)), make([]int, 0, len(batch)) // at: the index in batch
	for i, r := range batch {
		o, err := newOptions(r.Args, r.Options)
		if err != nil {
			errs[i] = publicError(err)
			continue
		}
		jobs, at = append(jobs, o), append(at, i)
	}
	failed := len(jobs) < len(batch)
	for n, err := range c.enqueueAll(ctx, jobs) {
		if err != nil {
			errs[at[n]], failed = err, true
			continue
		}
		refs[at[n]] = refOf(&jobs[n].Record)
	}
	if failed {
		return refs, &BatchError{Errs: errs}
	}
	return refs, nil
}

func (c *Client) storeOne(ctx context.Context, o *enqueueOptions) error {
	e, err := c.prepare(ctx, o, nil)
	if err == nil {
		err = c.store.Enqueue(ctx, e)
	}
	return publicError(err)
}

// enqueueAll returns the error of each job, nil for those that are stored. Middleware has its say.
func (c *Client) enqueueAll(ctx context.Context, jobs []*enqueueOptions) []error {
	if c.chain != nil {
		return c.throughMiddleware(ctx, jobs)
	}
	return c.storeAll(ctx, jobs)
}

// storeAll returns the error of each job, nil for those that are stored.
func (c *Client) storeAll(ctx context.Context, jobs []*enqueueOptions) []error {
	errs := make([]error, len(jobs))
	good, at := make([]queue.Enqueue, 0, len(jobs)), make([]int, 0, len(jobs))
	quotas := make(map[string]int)
	for i, o := range jobs {
		e, err := c.prepare(ctx, o, quotas)
		if err != nil {
			errs[i] = publicError(err)
			continue
		}
		good, at = append(good, e), append(at, i)
	}
	for n, err := range c.store.EnqueueMany(ctx, good) {
		errs[at[n]] = publicError(err)
	}
	return errs
}

// prepare returns a job as it is sent. Unless quotas is nil, it has those of types that were asked
// for before.
func (c *Client) prepare(ctx context.Context, o *enqueueOptions, quotas map[string]int) (queue.Enqueue, error) {
	e, err := queue.NewEnqueue(&o.Record)
	if err == nil && o.rejectAtQuota {
		limit, known := quotas[o.Type]
		if !known {
			limit, err = c.findQuota(ctx, o.Type)
		}
		if e.Below = limit; quotas != nil && err == nil {
			quotas[o.Type] = limit
		}
	}
	e.Once, e.Delay, e.RunAt, e.UniqueFor = o.chosenID, o.delay, o.runAt, o.uniqueFor
	return e, err
}

// newOptions returns the options of a job, and its record in them, after it has checked them.
func newOptions(args Args, opts []EnqueueOption) (*enqueueOptions, error) {
	if isNil(args) {
		return nil, &job.InvalidError{What: "arguments", Rule: "must not be nil"}
	}
	o := &enqueueOptions{Record: job.Record{Queue: job.DefaultQueue, Type: args.Type(), Life: uuid.NewString(), Attempt: 1}}
	for i, set := range opts {
		if set == nil {
			return nil, &job.InvalidError{What: fmt.Sprintf("option %d of %d", i+1, len(opts)), Rule: "is nil"}
		}
		set(o)
	}
	if o.delayed && !o.runAt.IsZero() {
		o.refuse(true, "delay", o.delay, "WithDelay and WithRunAt: use one")
	}
	o.refuse(o.alone, "option", "Alone", "is for Requeue only")
	if o.err != nil {
		return nil, o.err
	}
	var err error
	if o.Payload, err = payloadOf(args); err != nil {
		return nil, err
	}
	if err := o.completeID(); err != nil {
		return nil, err
	}
	if o.Type == job.WorkflowType {
		return nil, &job.InvalidError{What: "type", Name: o.Type, Rule: "is that of workflows themselves: use Client.Start"}
	}
	return o, o.Check()
}

// payloadOf returns the bytes that travel.
func payloadOf(args Args) ([]byte, error) {
	switch raw := args.(type) {
	case Raw:
		return raw.Payload, nil
	case *Raw:
		return raw.Payload, nil
	}
	b, err := json.Marshal(args)
	if err != nil {
		return nil, &job.InvalidError{What: "payload of type " + args.Type(), Rule: "cannot be encoded: " + err.Error()}
	}
	return b, nil
}

// isNil reports whether args are nothing, or a pointer to nothing, which cannot say its type.
func isNil(args Args) bool {
	v := reflect.ValueOf(args)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

// findQuota returns the quota at which a job of the type is refused, 0 if it has none.
func (c *Client) findQuota(ctx context.Context, typ string) (int, error) {
	limit, limited, err := c.registry.Limit(ctx, slots.Key{Kind: slots.OfType, Name: typ})
	if err != nil {
		return 0, err
	}
	if c.unlimited.isNews(typ, !limited) {
		c.log.WarnContext(ctx, "a job was to be refused at the quota of its type, which has none: it is enqueued",
			slog.String("type", typ))
	}
	return limit.Jobs, nil
}

// unlimitedTypes are those that had no quota when jobs were to be refused at it.
type unlimitedTypes struct {
	mu    sync.Mutex
	types map[string]struct{}
}

// maxUnlimited bounds the memory of a caller that makes up types as it goes.
const maxUnlimited = 1000

// isNews notes whether a type has no quota, and reports whether its caller is to be told so.
func (u *unlimitedTypes) isNews(typ string, unlimited bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, told := u.types[typ]
	switch {
	case !unlimited:
		delete(u.types, typ)
		return false
	case told || len(u.types) == maxUnlimited:
		return false
	case u.types == nil:
		u.types = make(map[string]struct{})
	}
	u.types[typ] = struct{}{}
	return true
}
