package registry

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// A Reader is a process whose pipeline reads a stream: a node that serves no queue.
type Reader struct {
	ID       string // unique per start
	Name     string // the pipeline's
	Pipeline func() Pipeline
	Draining func() bool   // it takes nothing new, by an order or since it ends
	Suspend  func(on bool) // an order to drain, or its end
	Logger   *slog.Logger
}

// How long a reader waits before it looks again whether there is a registry.
const (
	readerFirst = time.Second
	readerAgain = time.Minute
)

// ShowReader has a reader be among the nodes until ctx ends. It is of use to people only, so it makes no
// registry where there is none, and gives up with a line in the log where the user may not write to it.
func (s *Store) ShowReader(ctx context.Context, r Reader) {
	started := time.Now().UTC()
	snapshot := func() Node { return r.node(started) }
	for pause := readerFirst; ; pause = min(2*pause, readerAgain) {
		err := s.tryReader(ctx, r, snapshot)
		switch {
		case ctx.Err() != nil, errors.Is(err, nats.ErrConnectionClosed):
			return
		case errors.Is(err, nats.ErrPermissionViolation):
			r.Logger.InfoContext(ctx, "the pipeline works, and is not among the workers: this user may not write to the registry", slog.Any("err", err))
			return
		case err != nil:
			r.Logger.DebugContext(ctx, "the pipeline is not among the workers yet", slog.Any("err", err))
		}
		if stream.Sleep(ctx, pause) != nil {
			return
		}
	}
}

// tryReader shows a reader until ctx ends, or something is not as it is needed.
func (s *Store) tryReader(ctx context.Context, r Reader, snapshot func() Node) error {
	if _, err := s.client.Info(ctx, s.bucket.Stream()); err != nil {
		return err
	}
	agent, err := NewAgent(s, AgentConfig{Node: r.ID, Slots: &readerSlots{suspend: r.Suspend}, Snapshot: snapshot, Logger: r.Logger})
	if err != nil {
		return err
	}
	first := &state{Agent: agent} // an agent would say every ten seconds that it may not
	if err := first.present(ctx); err != nil {
		return err
	}
	remembering, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { s.remember(remembering, r) })
	err = agent.Run(ctx)
	stop()
	beside.Wait()
	return err
}

func (r *Reader) node(started time.Time) Node {
	host, _ := os.Hostname() // for people
	n := Node{
		ID: r.ID, Name: r.Name, Host: host, PID: os.Getpid(), Version: Version(), Started: started, State: Working,
		Queues: []string{}, Types: []string{}, Running: []Running{}, SlotsFree: new(0), NoStats: true, Pipelines: []Pipeline{r.Pipeline()},
	}
	if r.Draining() {
		n.State = Draining
	}
	return n
}

// Reads reports whether the node is a [Reader]: it serves no queue.
func (n *Node) Reads() bool { return len(n.Queues) == 0 && len(n.Pipelines) > 0 }

// Version is that of the program, as it was built.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.Main.Version
}

// readerSlots are those of a process without jobs.
type readerSlots struct {
	taker   slots.Taker
	suspend func(bool)
}

func (s *readerSlots) Limiter(_ slots.Key, period time.Duration) slots.Limiter {
	return s.taker.Limiter(period)
}
func (*readerSlots) SetKey(string, string)      {}
func (*readerSlots) Pause(string, string, bool) {}

// Suspend implements [Slots].
func (s *readerSlots) Suspend(on bool) { s.suspend(on) }
