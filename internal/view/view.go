package view

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// Config says what a [View] looks at. All parts are over one connection.
type Config struct {
	Client   *stream.Client
	Store    *queue.Store
	Registry *registry.Store

	// Fresh is how old a snapshot may be that is given to one more who looks; 0: it is taken anew,
	// unless one is being taken.
	Fresh time.Duration

	// Starts returns how many jobs of a queue and type started in a minute lately, 0 if that is not known,
	// with at most one request; nil: nobody counts.
	Starts func(ctx context.Context, queueName, typ string) (perMinute float64, err error)
}

// A View looks at a namespace. It is safe for concurrent use, and does nothing while nobody looks.
type View struct {
	cfg    Config
	flight singleflight.Group

	oldest   oldestKnown
	counts   countedKnown
	unserved unservedKnown

	mu   sync.Mutex
	last *Snapshot
	took time.Time // when last was, by this machine's clock
}

// New returns a view. It does no I/O.
func New(cfg Config) *View { return &View{cfg: cfg} }

// Snapshot takes a snapshot, or shares the one that is being taken: it is not to be changed. What
// could not be read is in Missing; an error says that nothing could be.
func (v *View) Snapshot(ctx context.Context) (*Snapshot, error) {
	if s := v.fresh(); s != nil {
		return s, nil
	}
	taken := v.flight.DoChan("", func() (any, error) {
		s, err := v.take(context.WithoutCancel(ctx)) // it is shared, and has its own patience
		if err == nil {
			v.keep(s)
		}
		return s, err
	})
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case r := <-taken:
		s, _ := r.Val.(*Snapshot)
		return s, r.Err
	}
}

// Refresh has the next snapshot taken anew, since something was done that it is to show.
func (v *View) Refresh() {
	v.flight.Forget("")
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = nil
}

// fresh returns the last snapshot if it is as good as new.
func (v *View) fresh() *Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.last != nil && time.Since(v.took) < v.cfg.Fresh {
		return v.last
	}
	return nil
}

func (v *View) keep(s *Snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last, v.took = s, time.Now()
}

// take takes a snapshot.
func (v *View) take(ctx context.Context) (*Snapshot, error) {
	began := time.Now()
	f, err := v.gather(ctx)
	if err != nil {
		return nil, err
	}
	s := f.snapshot()
	v.addUnserved(ctx, s, f.registry.Unserved())
	v.countRest(ctx, s)
	v.findOldest(ctx, s) // of types that were counted, too
	s.Namespace, s.Server = v.cfg.Client.Namespace(), v.server()
	s.Took = time.Since(began)
	return s, nil
}

// server describes the server at the other end of the connection. It asks nobody.
func (v *View) server() Server {
	nc := v.cfg.Client.Conn()
	return Server{URL: redacted(nc.ConnectedUrl()), Name: nc.ConnectedServerName(), Version: nc.ConnectedServerVersion(), Cluster: nc.ConnectedClusterName()}
}

// redacted is a server's address without its user.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		_, host, _ := strings.Cut(address, "@")
		return host
	}
	u.User = nil
	return u.String()
}
