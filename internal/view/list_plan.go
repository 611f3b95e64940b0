package view

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// plan decides which sources a query reads, in which order and between which sequences.
func (v *View) plan(ctx context.Context, q Query, s *Snapshot) (*list, error) {
	l := &list{view: v, query: q, now: s.At, want: pageSize(q.N), looks: pageLooks, until: time.Now().Add(pageTime)}
	if q.Search {
		l.looks, l.until = searchLooks, time.Now().Add(searchTime)
	}
	p := planner{view: v, query: q, snapshot: s, list: l}
	p.since, p.until = windowOf(q.Filter, s.At)
	order := []func(context.Context) error{p.addRunning, p.addReady, p.addLater, p.addEnded, p.addDead}
	if !q.Before.IsZero() {
		order = []func(context.Context) error{p.addLater, p.addReady, p.addRunning, p.addEnded, p.addDead}
		if p.until.IsZero() || q.Before.Before(p.until) {
			p.until = q.Before
		}
	}
	for _, add := range order {
		if err := add(ctx); err != nil {
			return nil, err
		}
	}
	var err error
	l.at, err = positionOf(q.Cursor, q.Filter, l.sources)
	return l, err
}

type planner struct {
	view         *View
	query        Query
	snapshot     *Snapshot
	list         *list
	since, until time.Time // of when a message was stored; zero: open
}

// madeWithin is how long after its moment an id may be used: a UUIDv7 whose first eight digits are
// known was made within 65.5 s.
const (
	madeWithin = 65536 * time.Millisecond
	clockSlack = time.Minute // by the clock of whoever made it
)

// windowOf returns the times between which a message of what matches was stored; zero is open. The
// prefix of a UUIDv7 says when the job was enqueued, and nothing of it is older.
func windowOf(f filter.Filter, now time.Time) (since, until time.Time) {
	since, until = f.Window(now)
	for i := range f.Terms {
		t := &f.Terms[i]
		if t.Key != filter.ID || t.Negated {
			continue
		}
		var first time.Time
		for _, value := range t.Values {
			at, ok := madeAt(value.Text)
			if !ok {
				return since, until
			}
			if first.IsZero() || at.Before(first) {
				first = at
			}
		}
		if first = first.Add(-clockSlack); first.After(since) {
			since = first
		}
	}
	return since, until
}

// madeAt is when a UUIDv7 was made whose first eight digits at least are known.
func madeAt(prefix string) (time.Time, bool) {
	const digits = 8
	if len(prefix) < digits {
		return time.Time{}, false
	}
	full := prefix
	if rest := "00000000-0000-7000-8000-000000000000"; len(full) < len(rest) {
		full += rest[len(full):]
	}
	id, err := uuid.Parse(full)
	if err != nil || id.Version() != 7 {
		return time.Time{}, false
	}
	sec, nsec := id.Time().UnixTime()
	return time.Unix(sec, nsec).UTC(), true
}

func (p *planner) add(s source) { p.list.sources = append(p.list.sources, s) }

// queues returns the queues whose jobs may match.
func (p *planner) queues(state job.State) (all []*Queue) {
	for i := range p.snapshot.Queues {
		if q := &p.snapshot.Queues[i]; wants(p.query.Filter, state, q.Name, "") {
			all = append(all, q)
		}
	}
	return all
}

func (p *planner) addRunning(context.Context) error {
	queues := p.queues(job.Running)
	if len(queues) == 0 {
		return nil
	}
	match := Counted(0, Exact, p.snapshot.At)
	for _, q := range queues {
		match = match.Plus(p.ofTypes(q, job.Running, q.Running, func(t *Type) Count { return t.Running }))
	}
	p.add(&runningSource{view: p.view, desc: p.query.Order == NewestFirst, match: match})
	return nil
}

// ofTypes is a queue's count, or the sum of those of its types if the filter names types.
func (p *planner) ofTypes(q *Queue, state job.State, all Count, of func(*Type) Count) Count {
	if !p.query.Filter.Has(filter.Type) {
		return all
	}
	sum := Counted(0, Exact, p.snapshot.At)
	for i := range q.Types {
		if t := &q.Types[i]; wants(p.query.Filter, state, q.Name, t.Name) {
			sum = sum.Plus(of(t))
		}
	}
	return sum
}

func (p *planner) addReady(ctx context.Context) error {
	for _, q := range p.queues(job.Ready) {
		name := q.streamName(p.snapshot)
		if p.query.Order == NewestFirst {
			match := p.ofTypes(q, job.Ready, q.Ready.Plus(q.Unclaimed), func(t *Type) Count { return t.Ready })
			if err := p.addScan(ctx, "ready", name, match, p.view.waiting(q, job.Ready)); err != nil {
				return err
			}
			continue
		}
		src := &readySource{view: p.view, queue: q, until: p.until}
		for i := range q.Types {
			if t := &q.Types[i]; t.Consumer && wants(p.query.Filter, job.Ready, q.Name, t.Name) {
				src.types = append(src.types, t)
			}
		}
		if !p.since.IsZero() {
			var err error
			if src.since, err = p.firstSince(ctx, name); err != nil {
				return err
			}
		}
		p.add(src)
		p.addUnclaimed(q)
	}
	return nil
}

// addUnclaimed adds ready jobs of types without a consumer: of those that the filter names, or of all.
func (p *planner) addUnclaimed(q *Queue) {
	rest := q.Later.Plus(q.Held)
	if q.Unclaimed.Known() {
		rest = rest.Plus(q.Unclaimed)
	}
	types, named := p.query.Filter.Names(filter.Type)
	if !named && (q.Unclaimed.Value > 0 || !q.Unclaimed.Known()) {
		p.add(&unclaimedSource{view: p.view, queue: q, rest: rest})
	}
	for _, typ := range types {
		if job.CheckType(typ) == nil && !q.hasConsumer(typ) {
			p.add(&unclaimedSource{view: p.view, queue: q, typ: typ, rest: rest})
		}
	}
}

func (p *planner) addLater(ctx context.Context) error {
	scheduled, retrying := wants(p.query.Filter, job.Scheduled, "", ""), wants(p.query.Filter, job.Retrying, "", "")
	if !scheduled && !retrying {
		return nil
	}
	for i := range p.snapshot.Queues {
		q := &p.snapshot.Queues[i]
		if !wants(p.query.Filter, "", q.Name, "") {
			continue
		}
		match := q.Later
		switch {
		case p.query.Filter.Has(filter.Type):
			match = Uncounted()
		case !scheduled:
			match = q.Retrying
		case !retrying:
			match = q.Scheduled
		}
		if q.Later.How == Exact && q.Later.Value <= stream.MaxLastMatching {
			p.add(&fewLaterSource{view: p.view, queue: q, oldest: p.query.Order == OldestFirst, match: match})
			continue
		}
		if err := p.addScan(ctx, "later", q.streamName(p.snapshot), match, p.view.waiting(q, job.Scheduled, job.Retrying)); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) addDead(ctx context.Context) error {
	if !wants(p.query.Filter, job.Dead, "", "") {
		return nil
	}
	match := p.snapshot.Dead
	if p.query.Filter.Has(filter.Queue) || p.query.Filter.Has(filter.Type) {
		match = Uncounted()
	}
	return p.addScan(ctx, "dead", p.view.cfg.Store.AllDead().Stream, match, p.view.deadIn)
}

func (p *planner) addEnded(ctx context.Context) error {
	if !wants(p.query.Filter, job.Succeeded, "", "") && !wants(p.query.Filter, job.Cancelled, "", "") {
		return nil
	}
	return p.addScan(ctx, "ended", p.view.cfg.Store.AllEvents().Stream, Uncounted(), p.view.endedIn)
}

// addScan adds a source that reads a stream, if that is there.
func (p *planner) addScan(ctx context.Context, kind, name string, match Count, read func(*stream.Message) (Job, bool)) error {
	info := p.info(name)
	if info == nil {
		return nil
	}
	src := &scanSource{
		view: p.view, kind: kind, info: info, oldest: p.query.Order == OldestFirst, match: match, read: read,
		low: info.State.FirstSeq, high: info.State.LastSeq,
	}
	if err := p.narrow(ctx, src); err != nil {
		return err
	}
	p.add(src)
	return nil
}

func (p *planner) info(name string) *jetstream.StreamInfo {
	for i := range p.snapshot.Streams {
		if s := &p.snapshot.Streams[i]; s.Name == name {
			return s.Info
		}
	}
	return nil
}

// narrow has a source read between the times of the query only.
func (p *planner) narrow(ctx context.Context, src *scanSource) error {
	if !p.since.IsZero() {
		first, err := p.firstAt(ctx, src.info.Config.Name, p.since, src.high+1)
		if err != nil {
			return err
		}
		src.low = max(src.low, first)
	}
	if !p.until.IsZero() {
		first, err := p.firstAt(ctx, src.info.Config.Name, p.until, src.high+1)
		if err != nil {
			return err
		}
		src.high = min(src.high, first-1)
	}
	return nil
}

// firstSince is the sequence of the first message of a stream that is meant.
func (p *planner) firstSince(ctx context.Context, name string) (uint64, error) {
	return p.firstAt(ctx, name, p.since, 1<<63)
}

// firstAt is the sequence of the first message that was stored at a time or later, behind if there is
// none.
func (p *planner) firstAt(ctx context.Context, name string, at time.Time, behind uint64) (uint64, error) {
	m, err := p.view.cfg.Client.FirstSince(ctx, name, at)
	switch {
	case err == nil:
		return m.Seq, nil
	case orNone(err) == nil:
		return behind, nil
	case cannotRead(err): // then all of it is read
		return 0, nil
	}
	return 0, err
}

// streamName is the name of the queue's stream.
func (q *Queue) streamName(s *Snapshot) string {
	for i := range s.Streams {
		if s.Streams[i].Queue == q.Name {
			return s.Streams[i].Name
		}
	}
	return ""
}

// waiting reads a job of a queue's stream that is in one of the states, and not handed out.
func (v *View) waiting(q *Queue, states ...job.State) func(*stream.Message) (Job, bool) {
	return func(m *stream.Message) (Job, bool) {
		read, ok := v.cfg.Store.ReadMessage(m)
		if !ok {
			return Job{}, false
		}
		j := waitingJob(read)
		for _, s := range states {
			if j.State == s {
				return j, s != job.Ready || !q.handedOut(&j)
			}
		}
		return Job{}, false
	}
}

// handedOut reports whether a ready job was handed out to a worker.
func (q *Queue) handedOut(j *Job) bool {
	for i := range q.Types {
		if t := &q.Types[i]; t.Name == j.Type {
			return j.Seq <= t.Delivered
		}
	}
	return false
}

func (v *View) deadIn(m *stream.Message) (Job, bool) {
	d, ok := v.cfg.Store.ReadDead(m)
	if !ok {
		return Job{}, false
	}
	return deadJob(d), true
}

// endedIn reads the end of a job that is not dead, which has a record.
func (v *View) endedIn(m *stream.Message) (Job, bool) {
	e, ok := v.cfg.Store.ReadEvent(m)
	if !ok || !e.Kind.Final() || e.Kind == job.EventDead {
		return Job{}, false
	}
	return endedJob(&e), true
}
