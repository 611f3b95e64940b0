package view

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/arrival"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
)

// A Case is what bears on where a job is and what it waits for. What could not be read is in Missing,
// and its zero value here; what was not needed was not asked for.
type Case struct {
	Place job.Place
	At    time.Time // when it was looked at, by the broker's clock if that is known

	Message *queue.Message // the newest of the id, as the leader knows it; nil: there is none
	Event   *queue.Event   // the last of the id, of whichever life; nil: none is kept
	Dead    *queue.DeadJob // asked for if there is no message

	Registry registry.JobSurvey
	Surveyed bool // the registry was read
	Located  registry.Whereabouts

	Consumer *jetstream.ConsumerInfo // of the type; nil: there is none
	Stream   *jetstream.StreamInfo   // asked for if the consumer does not tell enough

	Before  Count // ready jobs of its type that go first
	Heavier Count // ready jobs of queues that go first, where all workers of the type have them in order

	Part *arrival.Part // in a workflow, of its own job, and of a step's without a message; nil: in none

	StartsPerMinute float64 // of its type in its queue, lately; 0: not known

	Missing []Missing
}

// The parts of a case that can be missing.
const (
	MissingMessage  = "message"
	MissingWorkflow = "workflow"
	MissingEvent    = "event"
	MissingRegistry = "registry"
	MissingConsumer = "consumer"
	MissingStream   = "stream"
	MissingWorkers  = "workers"
	MissingDead     = "record of its death"
)

// Lacks reports whether a part could not be read.
func (c *Case) Lacks(what string) bool {
	for _, m := range c.Missing {
		if m.What == what {
			return true
		}
	}
	return false
}

// HandedOut reports whether the job's message was handed to a worker at some time: it is in hand, or
// will be delivered again.
func (c *Case) HandedOut() bool {
	return c.Waits() && c.Consumer != nil && c.Message.Seq <= c.Consumer.Delivered.Stream
}

// Ended reports whether the job's newest life has: its message, if there is one, lacks only the
// acknowledgement.
func (c *Case) Ended() bool {
	e := c.Event
	return e != nil && e.Kind.Final() && (c.Message == nil || e.Seq >= c.Message.Seq) || c.Message == nil
}

// Waits reports whether the job's message is one that is due, and that no end is known of.
func (c *Case) Waits() bool { return c.Message != nil && c.Message.RunAt.IsZero() && !c.Ended() }

// Serving returns the workers that take jobs of its type from its queue, or that do so until they stop.
func (c *Case) Serving() (nodes []registry.Node) {
	for _, n := range c.Registry.Nodes {
		if slices.Contains(n.Queues, c.Place.Queue.String()) && slices.Contains(n.Types, c.Place.Type.String()) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// MaxCaseRequests is how many requests a case costs at most, in strict order one more for each
// further queue that goes first.
const MaxCaseRequests = 8

// maxHeavier is how many queues that go first are asked for what waits there.
const maxHeavier = 1

// Case gathers what bears on a job. It returns an error only if nothing could be read.
func (v *View) Case(ctx context.Context, p job.Place) (*Case, error) {
	c := &Case{Place: p, At: time.Now().UTC(), Before: Uncounted(), Heavier: Uncounted()}
	l := caseLook{View: v, Case: c}
	l.first(ctx)
	if len(c.Missing) == firstRequests {
		return nil, c.Missing[0].Err
	}
	l.second(ctx)
	c.tellTime()
	return c, context.Cause(ctx)
}

// tellTime takes over the broker's time.
func (c *Case) tellTime() {
	switch {
	case c.Stream != nil && !c.Stream.TimeStamp.IsZero():
		c.At = c.Stream.TimeStamp.UTC()
	case c.Consumer != nil && !c.Consumer.TimeStamp.IsZero():
		c.At = c.Consumer.TimeStamp.UTC()
	}
}

// A caseLook gathers a case.
type caseLook struct {
	*View
	*Case
	mu sync.Mutex // guards what is in the case
}

// note keeps what was read, or that it could not be.
func (l *caseLook) note(what string, err error, write func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.Missing = append(l.Missing, Missing{What: what, Err: err, Why: err.Error()})
		return
	}
	write()
}

// firstRequests is how many questions are asked whatever the job does.
const firstRequests = 4

// first asks for the job itself, and for what its type has.
func (l *caseLook) first(ctx context.Context) {
	var g errgroup.Group
	g.Go(func() error {
		m, err := within(ctx, func(ctx context.Context) (*queue.Message, error) {
			m, _, err := l.cfg.Store.MessageAndHold(ctx, l.Place)
			return m, err
		})
		l.note(MissingMessage, noStream(err), func() { l.Message = m })
		return nil
	})
	g.Go(func() error {
		e, err := within(ctx, func(ctx context.Context) (*queue.Event, error) { return l.cfg.Store.LastEvent(ctx, l.Place) })
		l.note(MissingEvent, noStream(err), func() { l.Event = e })
		return nil
	})
	g.Go(func() error {
		r, err := within(ctx, func(ctx context.Context) (registry.JobSurvey, error) { return l.cfg.Registry.SurveyJob(ctx, l.Place) })
		l.note(MissingRegistry, err, func() { l.Registry, l.Surveyed = r, true })
		return nil
	})
	g.Go(func() error {
		i, err := within(ctx, func(ctx context.Context) (*jetstream.ConsumerInfo, error) {
			return l.cfg.Store.Consumer(ctx, l.Place.Queue, l.Place.Type)
		})
		l.note(MissingConsumer, noStream(err), func() { l.Consumer = i })
		return nil
	})
	_ = g.Wait() // what failed is missing
}

// noStream is err, nil if that says that there is no such thing, or no stream that could have it.
func noStream(err error) error {
	if gone(err) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil
	}
	return err
}

// second asks for what the first answers leave open.
func (l *caseLook) second(ctx context.Context) {
	var g errgroup.Group
	var live []registry.Node
	if l.Message == nil && !l.Lacks(MissingMessage) {
		g.Go(func() error {
			d, err := within(ctx, func(ctx context.Context) (*queue.DeadJob, error) { return l.cfg.Store.DeadRecord(ctx, l.Place) })
			l.note(MissingDead, orNone(err), func() { l.Dead = d })
			return nil
		})
	}
	if l.mayBePart() {
		g.Go(func() error {
			p, err := within(ctx, func(ctx context.Context) (*arrival.Part, error) { return arrival.PartOf(ctx, l.cfg.Client, l.Place) })
			l.note(MissingWorkflow, noStream(err), func() { l.Part = p })
			return nil
		})
	}
	if l.Waits() && len(l.Registry.Nodes) > 0 {
		g.Go(func() error {
			w, err := l.cfg.Registry.Locate(ctx, l.Registry.Nodes, l.Place)
			l.note(MissingWorkers, err, func() { l.Located, live = w, w.Nodes })
			return nil
		})
	}
	asked := l.needsStream()
	if asked {
		g.Go(func() error { l.askStream(ctx); return nil })
	}
	if l.Waits() && l.Consumer != nil && !l.HandedOut() && !asked {
		g.Go(func() error { l.countBefore(ctx); return nil })
	}
	if l.Waits() && l.Consumer != nil && !l.HandedOut() && l.Consumer.NumPending > 1 && l.cfg.Starts != nil {
		g.Go(func() error { l.askStarts(ctx); return nil })
	}
	if heavier := l.heavierQueues(); len(heavier) > 0 && l.Waits() && !l.HandedOut() {
		g.Go(func() error { l.countHeavier(ctx, heavier); return nil })
	}
	_ = g.Wait() // what failed is missing
	if live != nil {
		l.Registry.Nodes = live
	}
	if asked && l.Stream != nil && l.Consumer != nil && l.Waits() && !l.HandedOut() {
		l.Before = l.estimateBefore()
	}
}

// mayBePart reports whether a workflow is asked what the job is to it.
func (l *caseLook) mayBePart() bool {
	own := l.Place.Type.String() == job.WorkflowType && !strings.Contains(l.Place.ID.String(), "--")
	return l.Message != nil && own || l.Message == nil && !l.Lacks(MissingMessage) && strings.Contains(l.Place.ID.String(), "--")
}

// needsStream reports whether the state of the queue's stream is asked for: it tells whether there is a
// leader where something is missing, the time where no consumer does, and how far a long queue goes.
func (l *caseLook) needsStream() bool {
	return l.Message != nil && l.Consumer == nil || len(l.Missing) > 0 || l.Consumer != nil && l.Consumer.NumPending > onDemand
}

func (l *caseLook) askStream(ctx context.Context) {
	name := l.cfg.Store.ReadyOf(l.Place.Queue, "").Stream
	info, err := within(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) { return l.cfg.Store.StreamInfo(ctx, name) })
	l.note(MissingStream, noStream(err), func() { l.Stream = info })
}

// countBefore counts the jobs of its type that go first: all that are ready but for those behind it.
func (l *caseLook) countBefore(ctx context.Context) {
	part := l.cfg.Store.ReadyOf(l.Place.Queue, l.Place.Type.String())
	ready := int64(l.Consumer.NumPending) //nolint:gosec // as many as there is room for
	if ready <= 1 {
		l.note("", nil, func() { l.Before = Counted(0, Exact, l.Consumer.TimeStamp.UTC()) })
		return
	}
	from, err := within(ctx, func(ctx context.Context) (uint64, error) {
		return l.cfg.Client.CountFrom(ctx, part.Stream, part.Subject, l.Message.Seq)
	})
	if err != nil {
		return // it stays unknown: others may not read so
	}
	l.note("", nil, func() { l.Before = Counted(ready-int64(from), Exact, l.Consumer.TimeStamp.UTC()) }) //nolint:gosec // likewise
}

func (l *caseLook) askStarts(ctx context.Context) {
	rate, err := within(ctx, func(ctx context.Context) (float64, error) {
		return l.cfg.Starts(ctx, l.Place.Queue.String(), l.Place.Type.String())
	})
	if err == nil { // else it stays unknown: nothing hangs on it
		l.note("", nil, func() { l.StartsPerMinute = rate })
	}
}

// estimateBefore is countBefore where that would cost too much: as if the jobs of the type were spread
// evenly over the stream.
func (c *Case) estimateBefore() Count {
	from, last, seq := c.Consumer.Delivered.Stream, c.Stream.State.LastSeq, c.Message.Seq
	if last <= from || seq <= from {
		return Uncounted()
	}
	share := float64(seq-from) / float64(last-from)
	return Counted(int64(float64(c.Consumer.NumPending)*min(share, 1)), About, c.Stream.TimeStamp.UTC())
}

// heavierQueues are the queues that go first on every worker that serves the type, if there is one.
func (c *Case) heavierQueues() []string {
	var queues []string
	for i, n := range c.Serving() {
		if n.StrictWeights == nil {
			return nil
		}
		var heavier []string
		for _, q := range n.Queues {
			if n.StrictWeights[q] > n.StrictWeights[c.Place.Queue.String()] && (i == 0 || slices.Contains(queues, q)) {
				heavier = append(heavier, q)
			}
		}
		queues = heavier
	}
	return queues
}

// countHeavier counts what is ready in queues that go first. Of more than are asked it is at least that.
func (l *caseLook) countHeavier(ctx context.Context, queues []string) {
	total := Counted(0, Exact, time.Time{})
	for i, q := range queues {
		if i == maxHeavier {
			total.How = AtLeast
			break
		}
		name, err := job.QueueName(q)
		if err != nil {
			continue
		}
		list, err := l.cfg.Store.Consumers(ctx, name)
		if err != nil && !gone(err) {
			return // it stays unknown
		}
		for _, info := range list.Infos {
			if job.CheckType(info.Name) == nil && l.served(q, info.Name) {
				total = total.Plus(Counted(int64(info.NumPending), Exact, info.TimeStamp.UTC())) //nolint:gosec // as many as there is room for
			}
		}
	}
	l.note("", nil, func() { l.Heavier = total })
}

// served reports whether a worker that serves the job's type serves this one of another queue.
func (c *Case) served(queueName, typ string) bool {
	for _, n := range c.Serving() {
		if slices.Contains(n.Queues, queueName) && slices.Contains(n.Types, typ) {
			return true
		}
	}
	return false
}

// Leaderless reports whether a stream or consumer says that nobody leads it.
func (c *Case) Leaderless() bool {
	led := func(cluster *jetstream.ClusterInfo) bool {
		return cluster == nil || strings.TrimSpace(cluster.Leader) != ""
	}
	return c.Stream != nil && !led(c.Stream.Cluster) || c.Consumer != nil && !led(c.Consumer.Cluster)
}
