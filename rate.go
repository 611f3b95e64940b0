package millhand

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/supervisor"
)

// A Rate is the rate of a key over all processes, for whoever starts something else than jobs of that key:
// calls of an API in a batch's handler, or, as the Limit of a pipeline, its messages. It is a
// pipeline.Limiter. What it lets through and the jobs of the key's types together never exceed the rate in
// any period. The rate is set and changed with [Client.SetQuota] or `millhand rate key=NAME 600/1m` while
// everything runs. As long as none is set nothing waits.
type Rate struct {
	nc     *nats.Conn
	key    string
	config Config
	taker  slots.Taker

	mu      sync.Mutex
	stop    func() error // nil: nothing was taken yet
	closing chan struct{}
	closed  bool
}

// ErrRateClosed is returned by [Rate.Take] once the rate is closed.
var ErrRateClosed = errors.New("millhand: rate is closed")

// NewRate returns the rate of a key, of a process with at most one configuration. It asks the broker nothing
// before the first Take. From then on it takes part in sharing the rate, as a worker does, until Close or
// the end of the connection.
func NewRate(nc *nats.Conn, key string, c ...Config) (*Rate, error) {
	if err := checkConnection(nc); err != nil {
		return nil, err
	}
	if err := job.CheckKey(key); err != nil {
		return nil, publicError(err)
	}
	r := &Rate{nc: nc, key: key, closing: make(chan struct{})}
	switch len(c) {
	case 0:
	case 1:
		r.config = c[0]
	default:
		return nil, publicError(job.Invalid("configurations", len(c), "at most one is allowed"))
	}
	return r, nil
}

// Take waits until at least one of n may be started, and returns how many may be, from 1 to n, which counts
// them as started. An error is the cause of ctx, or says why the rate is not known: then none may be.
func (r *Rate) Take(ctx context.Context, n int) (int, error) {
	if err := r.start(ctx); err != nil {
		return 0, err
	}
	return r.taker.Take(ctx, n)
}

// Close gives back what this process has of the rate. Who waits in Take goes on waiting for their contexts.
func (r *Rate) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	close(r.closing)
	if r.stop == nil {
		return nil
	}
	return publicError(r.stop())
}

// start takes part in the registry, once.
func (r *Rate) start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return ErrRateClosed
	case r.stop != nil:
		return nil
	}
	js, err := r.config.jetStream(r.nc, nil)
	if err != nil {
		return publicError(err)
	}
	if r.stop, err = r.join(ctx, js); err != nil {
		js.Close()
		return publicError(err)
	}
	return nil
}

// join starts the agent, and ends it with the connection.
func (r *Rate) join(ctx context.Context, js *stream.Client) (stop func() error, err error) {
	store := registry.NewStore(js, r.config.logger())
	if err := store.Open(ctx); err != nil {
		return nil, err
	}
	agent, err := registry.NewAgent(store, registry.AgentConfig{
		Node: nodeName("rate-"+r.key) + "-" + uuid.NewString()[:8], RateOf: r.key,
		Slots: rateSlots{&r.taker}, Logger: r.config.logger(),
	})
	if err != nil {
		return nil, err
	}
	end, err := supervisor.Start(context.WithoutCancel(ctx), agent)
	if err != nil {
		return nil, err
	}
	gone := r.nc.StatusChanged(nats.CLOSED)
	var watching sync.WaitGroup
	once := sync.OnceValue(func() error {
		err := end()
		js.Close()
		return err
	})
	watching.Go(func() {
		select {
		case <-gone:
			_ = once() // nobody waits for it
		case <-r.closing:
		}
		r.nc.RemoveStatusListener(gone)
	})
	return func() error {
		watching.Wait()
		return once()
	}, nil
}

// rateSlots are those of a process without jobs.
type rateSlots struct{ taker *slots.Taker }

func (s rateSlots) Limiter(_ slots.Key, period time.Duration) slots.Limiter {
	return s.taker.Limiter(period)
}
func (rateSlots) SetKey(string, string)      {}
func (rateSlots) Pause(string, string, bool) {}
func (rateSlots) Suspend(bool)               {}
