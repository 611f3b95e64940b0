package view

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
)

// snapshot makes a snapshot of the facts.
func (f *facts) snapshot() *Snapshot {
	s := &Snapshot{
		At: f.at(), Queues: []Queue{}, Workers: []registry.Node{}, Pools: []Pool{}, Streams: []Stream{},
		Dead: f.dead(), Missing: f.missing,
	}
	for _, n := range f.names {
		s.Streams = append(s.Streams, f.stream(n))
		if isQueue(n) {
			s.Queues = append(s.Queues, f.queue(n))
		}
	}
	slices.SortFunc(s.Queues, func(a, b Queue) int { return cmp.Compare(a.Name, b.Name) })
	for _, n := range f.registry.Nodes { // what others have written may lack lists
		n.Queues, n.Types, n.Running = orEmpty(n.Queues), orEmpty(n.Types), orEmpty(n.Running)
		s.Workers = append(s.Workers, n)
	}
	s.Readers = f.registry.Readers
	s.Pipelines = pipelinesOf(s.Workers, s.Readers)
	for _, u := range f.registry.Usages {
		s.Pools = append(s.Pools, poolOf(u))
	}
	slices.SortFunc(s.Missing, func(a, b Missing) int { return cmp.Compare(a.What, b.What) })
	return s
}

// orEmpty is a list that is none in JSON, either.
func orEmpty[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}

// at is the latest time that the broker told, or this machine's.
func (f *facts) at() time.Time {
	var at time.Time
	for _, info := range f.streams {
		if info.TimeStamp.After(at) {
			at = info.TimeStamp
		}
	}
	if at.IsZero() {
		at = f.asked
	}
	return at.UTC()
}

// dead counts the records of dead jobs: none if their stream is not there.
func (f *facts) dead() Count {
	for _, n := range f.names {
		if !n.Dead {
			continue
		}
		if info := f.streams[n.Name]; info != nil {
			return messagesIn(info)
		}
		return Uncounted()
	}
	return Counted(0, Exact, f.at())
}

func messagesIn(info *jetstream.StreamInfo) Count {
	return Counted(int64(info.State.Msgs), Exact, info.TimeStamp.UTC()) //nolint:gosec // as many as there is room for
}

func bytesIn(info *jetstream.StreamInfo) Count {
	return Counted(int64(info.State.Bytes), Exact, info.TimeStamp.UTC()) //nolint:gosec // as many as there is room for
}

func (f *facts) stream(n queue.StreamName) Stream {
	s := Stream{Name: n.Name, Queue: n.Queue.String(), Messages: Uncounted(), Bytes: Uncounted()}
	info := f.streams[n.Name]
	if info == nil {
		return s
	}
	s.Info = info
	s.Messages, s.Bytes = messagesIn(info), bytesIn(info)
	s.FirstSeq, s.LastSeq, s.FirstTime, s.LastTime = info.State.FirstSeq, info.State.LastSeq, info.State.FirstTime, info.State.LastTime
	if info.Cluster == nil {
		return s
	}
	s.Leader = info.Cluster.Leader
	for _, r := range info.Cluster.Replicas {
		s.Replicas = append(s.Replicas, Replica{Server: r.Name, Current: r.Current, Offline: r.Offline, Active: r.Active, Lag: r.Lag})
	}
	return s
}

func (f *facts) queue(n queue.StreamName) Queue {
	name := n.Queue.String()
	q := Queue{
		Name: name, Messages: Uncounted(), Bytes: Uncounted(), Ready: Uncounted(), InHand: Uncounted(),
		Running: f.running(name, ""), Later: Uncounted(), Scheduled: Uncounted(), Retrying: Uncounted(), Held: Uncounted(), Unclaimed: Uncounted(),
		Types: f.types(name),
	}
	if p, paused := f.registry.Paused[name]; paused {
		q.Paused = &p
	}
	if info := f.streams[n.Name]; info != nil {
		q.Messages, q.Bytes, q.LastSeq = messagesIn(info), bytesIn(info), info.State.LastSeq
	}
	if _, listed := f.consumers[name]; listed {
		q.Ready, q.InHand = f.sum(q.Types, func(t Type) Count { return t.Ready }), f.sum(q.Types, func(t Type) Count { return t.InHand })
		q.Later = f.rest(q)
	}
	return q
}

// sum adds up a count of all types that have a consumer. Those whose leaders are silent are left out.
func (f *facts) sum(types []Type, of func(Type) Count) Count {
	total := Counted(0, Exact, f.at())
	for _, t := range types {
		switch c := of(t); {
		case !t.Consumer:
		case c.Known():
			total = total.Plus(c)
		default:
			total.How = AtLeast
		}
	}
	return total
}

// rest is what a queue has beside its pin and what its consumers cover: the jobs that wait for their
// time, and whatever else no consumer covers. Stream and consumers were asked at different moments.
func (f *facts) rest(q Queue) Count {
	if q.Messages.How != Exact || q.Ready.How != Exact || q.InHand.How != Exact {
		return Uncounted()
	}
	return Counted(q.Messages.Value-1-q.Ready.Value-q.InHand.Value, About, q.Messages.At)
}

// types are those that have a consumer in a queue, are served there, or paused.
func (f *facts) types(queueName string) []Type {
	b := typesOfQueue{facts: f, queue: queueName, byName: make(map[string]*Type)}
	list, listed := f.consumers[queueName]
	for _, c := range list.Infos {
		if job.CheckType(c.Name) == nil {
			b.get(c.Name).read(c)
		}
	}
	for _, name := range list.Silent {
		if job.CheckType(name) == nil {
			b.get(name).Consumer = true
		}
	}
	b.addServed()
	for at := range f.registry.PausedTypes { // also of a type that nobody serves
		if queue, name, _ := strings.Cut(at, "/"); queue == queueName {
			b.get(name)
		}
	}
	types := make([]Type, 0, len(b.byName))
	for _, t := range b.byName {
		if listed && !t.Consumer && t.Workers+t.Draining > 0 { // its worker is about to make it
			t.Ready, t.InHand = Counted(0, Exact, f.at()), Counted(0, Exact, f.at())
		}
		types = append(types, *t)
	}
	slices.SortFunc(types, func(a, b Type) int { return cmp.Compare(a.Name, b.Name) })
	return types
}

// typesOfQueue are the types of a queue as they are found.
type typesOfQueue struct {
	facts  *facts
	queue  string
	byName map[string]*Type
}

func (b *typesOfQueue) get(name string) *Type {
	if t := b.byName[name]; t != nil {
		return t
	}
	f := b.facts
	t := &Type{
		Name: name, Queue: b.queue, Key: f.registry.Keys[name], Ready: Uncounted(), InHand: Uncounted(),
		Running: f.running(b.queue, name), Claimed: f.claimed(b.queue, name),
	}
	if p, paused := f.registry.PausedTypes[registry.LoadOf(b.queue, name)]; paused {
		t.Paused = &p
	}
	b.byName[name] = t
	return t
}

// addServed adds the types that workers serve, and counts those.
func (b *typesOfQueue) addServed() {
	for i := range b.facts.registry.Nodes {
		n := &b.facts.registry.Nodes[i]
		if !slices.Contains(n.Queues, b.queue) {
			continue
		}
		for _, name := range n.Types {
			t := b.get(name)
			if n.State == registry.Draining {
				t.Draining++
			} else {
				t.Workers++
			}
		}
	}
}

// read takes over what the consumer of a type says.
func (t *Type) read(c *jetstream.ConsumerInfo) {
	at := c.TimeStamp.UTC()
	t.Info, t.Consumer = c, true
	t.Ready = Counted(int64(c.NumPending), Exact, at) //nolint:gosec // as many as there is room for
	t.InHand = Counted(int64(c.NumAckPending), Exact, at)
	t.Pulls, t.Redelivered, t.Delivered = c.NumWaiting, c.NumRedelivered, c.Delivered.Stream
	if c.Delivered.Last != nil {
		t.LastActive = c.Delivered.Last.UTC()
	}
}

// running is how many jobs of a type in a queue run, as the workers said last; of all types if that
// is empty.
func (f *facts) running(queueName, typ string) Count {
	return f.ofWorkers(func(n *registry.Node) Count { return runningOn(n, queueName, typ) })
}

// claimed is how many jobs of a type in a queue the workers say that they have in hand.
func (f *facts) claimed(queueName, typ string) Count {
	return f.ofWorkers(func(n *registry.Node) Count {
		if n.ByType == nil {
			return Uncounted()
		}
		return Counted(int64(n.ByType[registry.LoadOf(queueName, typ)].Hand), Exact, n.Seen)
	})
}

// ofWorkers adds up what the workers say.
func (f *facts) ofWorkers(of func(*registry.Node) Count) Count {
	if !f.surveyed {
		return Uncounted()
	}
	total := Counted(0, Exact, f.at())
	for i := range f.registry.Nodes {
		total = total.Plus(of(&f.registry.Nodes[i]))
	}
	return total
}

// runningOn is running of one worker. One of an earlier version names its oldest jobs only.
func runningOn(n *registry.Node, queueName, typ string) Count {
	c := Counted(0, Exact, n.Seen)
	if n.ByType != nil {
		for key, l := range n.ByType {
			if q, t, _ := strings.Cut(key, "/"); q == queueName && (typ == "" || t == typ) {
				c.Value += int64(l.Run)
			}
		}
		return c
	}
	for _, r := range n.Running {
		if r.Queue == queueName && (typ == "" || r.Type == typ) {
			c.Value++
		}
	}
	if n.RunningTotal > len(n.Running) {
		c.How = AtLeast
	}
	return c
}

func poolOf(u registry.Usage) Pool {
	p := Pool{Name: u.Key.String(), Kind: u.Kind, Rate: u.Rate, Limit: u.Limit.Jobs, Source: u.Source, By: u.By, Set: u.Set, Types: u.Types, Grants: []Grant{}}
	if u.Limit.Per > 0 {
		p.Per = u.Limit.Per.String()
	}
	for _, g := range u.Grants {
		p.Held, p.Used, p.Want = p.Held+g.Held, p.Used+g.Used, p.Want+g.Want
		p.Grants = append(p.Grants, Grant{Worker: g.Node, Grant: g.Grant})
	}
	return p
}
