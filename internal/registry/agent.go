package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/supervisor"
)

// Slots are what a node can do at once, as far as an agent decides on it; the worker's are
// [slots.Slots]. The methods do not block and may be called from any goroutine.
type Slots interface {
	// Limiter returns where the permits of a key are used. It is called again when the period
	// of a rate changes.
	Limiter(key slots.Key, period time.Duration) slots.Limiter
	// SetKey has a type share the limits of a key, or of none any more if that is empty.
	SetKey(typ, key string)
	// Pause says whether a queue is paused or, with a type, whether that is in the queue.
	Pause(queue, typ string, paused bool)
	// Suspend says whether nothing at all is to be taken.
	Suspend(on bool)
}

// AgentConfig says for whom an [Agent] speaks, and what it moves. Its functions do not block
// and may be called from any goroutine.
type AgentConfig struct {
	Node          string        // unique per start
	TTL           time.Duration // of presence and grants, whole seconds; default 10 s
	Queues, Types []string      // that the node serves: it takes part in their pools only
	RateOf        string        // a key whose rate it takes part in, whoever else does; empty: none

	// Limits and Keys, by type, are what the node's configuration says. They are written when
	// a person hands a setting back; before that, [Store.ConfigureLimit] writes them.
	Limits map[slots.Key]Limit
	Keys   map[string]string

	Slots     Slots
	Snapshot  func() Node                          // what the node is and runs, all of it; nil: nobody is told that it is there
	Workflows func(queue string)                   // a queue has workflows; nil: nobody cares
	Doubt     func()                               // its presence could not be written; nil: nobody cares
	Standing  func(queue, typ, id string) Standing // how a job stands with it; nil: it does not tell

	Tree func() supervisor.Node // the node's supervision tree; nil: it does not tell

	Logger  *slog.Logger           // never nil
	OnEvent func(supervisor.Event) // what happens in the agent's tree; nil: nobody cares

	// Instrument changes the parts of the agent's tree: tests make them fail. Nil: it does not.
	Instrument func(supervisor.Child) supervisor.Child
}

// Sizes of what waits for the agent.
const (
	listenerBuffer = 1024 // hints and queries
	mailbox        = 256
	stopGrace      = 3 * time.Second // to give everything back
)

// An Agent is a node's part in the registry: its presence, its grants, and a listener for limits,
// keys and pauses. It is a part of a supervision tree, ready once the limits are known
// to the limiters and it has tried to get permits and to write its presence; it gives everything
// back when it is stopped.
//
//	registry        rest_for_one
//	├─ agent        a server that owns the state and does the writing
//	├─ listener     hints of other nodes, and queries
//	└─ watch        limits, keys and pauses as they change
type Agent struct {
	*supervisor.Supervisor
	store    *Store
	cfg      AgentConfig
	server   *supervisor.Server[message]
	settings atomic.Pointer[stream.Watch]
	troubles troubles

	// toldUntil is until when each limiter was told that it may use its permits. It outlives a crash of the
	// server, which must not make a grant last longer; only the server's goroutine uses it.
	toldUntil map[slots.Key]time.Time
}

// NewAgent returns an agent that is not started yet. The error is about cfg.
func NewAgent(store *Store, cfg AgentConfig) (*Agent, error) {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.TTL < minTTL || cfg.TTL > maxTTL || cfg.TTL%time.Second != 0 {
		return nil, job.Invalid("permit ttl", cfg.TTL, "must be whole seconds, from %v to %v", minTTL, maxTTL)
	}
	if cfg.Instrument == nil {
		cfg.Instrument = func(c supervisor.Child) supervisor.Child { return c }
	}
	a := &Agent{store: store, cfg: cfg, troubles: troubles{log: cfg.Logger}, toldUntil: make(map[slots.Key]time.Time)}
	var err error
	a.server, err = supervisor.NewServer(supervisor.ServerSpec[message]{Name: "agent", Init: a.init, Mailbox: mailbox})
	if err != nil {
		return nil, err
	}
	a.Supervisor, err = supervisor.New(supervisor.Spec{
		Name: "registry", Strategy: supervisor.RestForOne,
		Backoff:     supervisor.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second},
		MaxRestarts: new(10), Within: time.Minute,
		Children: []supervisor.Child{
			cfg.Instrument(supervisor.Child{Name: "agent", Part: a.server, StopTimeout: stopGrace + 2*time.Second}),
			cfg.Instrument(supervisor.Child{Name: "listener", RunReady: a.hear}),
			cfg.Instrument(supervisor.Child{Name: "watch", RunReady: a.watch}),
			cfg.Instrument(supervisor.Child{Name: "sweeper", RunReady: a.sweep}),
		},
		OnEvent: cfg.OnEvent,
	})
	return a, err
}

// Troubles returns what keeps the agent from its work at the moment, for people: nil if nothing
// does. It may be called from any goroutine.
func (a *Agent) Troubles() []string { return a.troubles.list() }

// hear passes hints on and answers queries.
func (a *Agent) hear(ctx context.Context, ready func()) error {
	msgs := make(chan *nats.Msg, listenerBuffer)
	for _, subject := range append(a.store.hintSubjects(), a.store.querySubject()) {
		sub, err := a.store.nc.ChanSubscribe(subject, msgs)
		if err != nil {
			return fmt.Errorf("hear %s: %w", subject, err)
		}
		defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	}
	connected := a.store.nc.StatusChanged(nats.CONNECTED)
	defer a.store.nc.RemoveStatusListener(connected)
	ready()
	for {
		select {
		case <-ctx.Done():
			return supervisor.ErrShutdown
		case <-connected:
			if f := a.settings.Load(); f != nil {
				f.Restart()
			}
		case m := <-msgs:
			if err := a.heard(ctx, m); err != nil {
				return err
			}
		}
	}
}

func (a *Agent) heard(ctx context.Context, m *nats.Msg) error {
	if m.Subject == a.store.querySubject() {
		if err := a.reply(m); err != nil {
			a.cfg.Logger.DebugContext(ctx, "cannot answer what was asked", slog.Any("err", err))
		}
		return nil
	}
	p, h, ok := a.store.parseHint(m.Subject, m.Data)
	if !ok || h.Node == a.cfg.Node {
		return nil
	}
	return a.server.Cast(ctx, hinted{p, h})
}

// message is what the agent's server is told.
type message interface{ isMessage() }

type (
	tick    struct{}
	changed struct{ stream.Entry } // a setting
	synced  struct {
		reply supervisor.Reply[<-chan struct{}]
	}
	hinted struct {
		key  slots.Key
		hint hintValue
	}
)

func (tick) isMessage()    {}
func (changed) isMessage() {}
func (synced) isMessage()  {}
func (hinted) isMessage()  {}

func (a *Agent) init(_ context.Context, self *supervisor.Self[message]) (supervisor.Handler[message], error) {
	st := &state{
		Agent: a, self: self, log: a.cfg.Logger,
		acted: make(chan struct{}), limits: make(map[slots.Key]knownLimit), keys: make(map[string]string), holders: make(map[slots.Key]*holder), config: a.cfg.settings(), offered: make(map[setting][]byte),
	}
	st.cancel = self.After(idlePoll, tick{})
	return st, nil
}

// serves reports whether the node serves what is limited.
func (s *state) serves(p slots.Key) bool {
	switch p.Kind {
	case slots.OfType:
		return slices.Contains(s.cfg.Types, p.Name)
	case slots.OfQueue:
		return slices.Contains(s.cfg.Queues, p.Name)
	}
	if p.Rate && p.Name == s.cfg.RateOf && p.Name != "" {
		return true
	}
	for typ, key := range s.keys {
		if key == p.Name && slices.Contains(s.cfg.Types, typ) {
			return true
		}
	}
	return false
}

// isSilence reports whether the broker did not answer, so that it is of no use to ask it
// more at the moment.
func isSilence(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, nats.ErrConnectionReconnecting) || errors.Is(err, nats.ErrReconnectBufExceeded) ||
		errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrTimeout)
}
