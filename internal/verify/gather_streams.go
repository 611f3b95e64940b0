package verify

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
)

// Bounds of how much of the streams one look reads, unless it is deep.
const (
	sampleOfHead = 500     // jobs of a queue, its oldest
	sampleOfTail = 500     // and its newest
	maxEvents    = 100_000 // the newest
	maxRecords   = 1_000   // of dead jobs, the newest
	maxBytes     = 64 << 20
	deepPage     = 1_000
)

// from is where the newest n of a stream begin, so that reading them costs by n: in its newer half,
// unless it is short.
func from(s *view.Stream, n int64, deep bool) (seq uint64) {
	const short = 100_000
	msgs := s.Messages.Value
	if deep || msgs <= n && msgs <= short {
		return max(s.FirstSeq, 1)
	}
	if bytes := s.Bytes.Value; msgs > 0 && bytes > 0 {
		n = min(n, max(maxBytes*msgs/bytes, 1))
	}
	if msgs > short {
		n = min(n, msgs/2)
	}
	if uint64(n) > s.LastSeq { //nolint:gosec // a count
		return 1
	}
	return max(s.LastSeq-uint64(n)+1, s.FirstSeq, 1) //nolint:gosec // a count
}

func (g *gatherer) events(ctx context.Context, f *Facts) error {
	s := f.events()
	if s == nil {
		return nil
	}
	f.Ledger.Of = s.Messages.Value
	return g.read(ctx, s, from(s, maxEvents, g.deep), func(m *stream.Message) {
		if e, ok := g.cfg.Store.ReadEvent(m); ok {
			f.Ledger.Add(e, m.Time)
		}
	})
}

// read reads a stream from a sequence up to where it ended when the snapshot was taken.
func (g *gatherer) read(ctx context.Context, s *view.Stream, from uint64, each func(*stream.Message)) error {
	if g.deep { // its older half as well
		return g.walk(ctx, s, from, each)
	}
	for m, err := range g.cfg.Client.Scan(ctx, s.Name, stream.Scan{Subject: ">", From: from, UpTo: s.LastSeq}) {
		if err != nil {
			return err
		}
		each(m)
	}
	return nil
}

// walk reads messages one by one, so that it holds nobody up however many there are.
func (g *gatherer) walk(ctx context.Context, s *view.Stream, from uint64, each func(*stream.Message)) error {
	for from <= s.LastSeq {
		page, err := g.cfg.View.Head(ctx, g.cfg.Store.AllOf(s.Name), from, s.LastSeq, deepPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, m := range page {
			each(m)
		}
		from = page[len(page)-1].Seq + 1
	}
	return nil
}

// records reads those of dead jobs, and the last events of their ids.
func (g *gatherer) records(ctx context.Context, f *Facts) error {
	s := f.dead()
	if s == nil {
		return nil
	}
	var places []job.Place
	err := g.read(ctx, s, from(s, maxRecords, g.deep), func(m *stream.Message) {
		d, ok := g.cfg.Store.ReadDead(m)
		p, err := d.Place()
		if !ok || err != nil {
			return
		}
		places = append(places, p)
		f.Dead = append(f.Dead, Record{Queue: d.Queue, Type: d.Type, ID: d.ID, Life: d.Life, Seq: m.Seq, DiedAt: m.Time, Attempt: d.Attempt, MaxAttempts: d.MaxAttempts, Crashes: d.Crashes})
	})
	if err != nil {
		return err
	}
	last, err := g.cfg.Store.LastEvents(ctx, places)
	if err != nil {
		return err
	}
	for i, p := range places {
		if e := last[p]; e != nil {
			f.Dead[i].LastLife, f.Dead[i].LastKind = e.Life, e.Kind
		}
	}
	return nil
}

// waiting reads jobs that are alive, and the last events of their ids.
func (g *gatherer) waiting(ctx context.Context, f *Facts) error {
	return g.eachQueue(f, func(_ job.Name, s *view.Stream) error {
		f.Sampled.Of += max(s.Messages.Value-1, 0)
		var batch []*queue.Message
		note := func(m *stream.Message) {
			if read, ok := g.cfg.Store.ReadMessage(m); ok {
				read.Payload = nil
				batch = append(batch, read)
			}
		}
		if g.deep {
			var err error
			walked := g.walk(ctx, s, 1, func(m *stream.Message) {
				note(m)
				if len(batch) >= deepPage && err == nil {
					err = g.ends(ctx, f, batch)
					batch = batch[:0]
				}
			})
			return errors.Join(walked, err, g.ends(ctx, f, batch))
		}
		head, err := g.cfg.View.Head(ctx, g.cfg.Store.AllOf(s.Name), max(s.FirstSeq, 1), s.LastSeq, sampleOfHead)
		if err != nil {
			return err
		}
		for _, m := range head {
			note(m)
		}
		if len(head) == sampleOfHead {
			if err := g.tail(ctx, s, head[len(head)-1].Seq, note); err != nil {
				return err
			}
		}
		return g.ends(ctx, f, batch)
	})
}

// tail reads the newest messages behind a sequence.
func (g *gatherer) tail(ctx context.Context, s *view.Stream, behind uint64, each func(*stream.Message)) error {
	page, _, err := g.cfg.Client.Page(ctx, s.Name, max(behind+1, from(s, sampleOfTail, false)), sampleOfTail)
	if err != nil {
		return err
	}
	for _, m := range page {
		if m.Seq <= s.LastSeq {
			each(m)
		}
	}
	return nil
}

// ends looks for the last events of jobs, and keeps those that have to be looked at more closely.
func (g *gatherer) ends(ctx context.Context, f *Facts, batch []*queue.Message) error {
	places := make([]job.Place, 0, len(batch))
	for _, m := range batch {
		if p, err := m.Place(); err == nil {
			places = append(places, p)
		}
	}
	last, err := g.cfg.Store.LastEvents(ctx, places)
	if err != nil {
		return err
	}
	for _, m := range batch {
		f.Sampled.Jobs++
		p, err := m.Place()
		if err != nil {
			continue
		}
		w := Waiting{
			Queue: m.Queue, Type: m.Type, ID: m.ID, Life: m.Life, Seq: m.Seq, Stored: m.Stored, RunAt: m.RunAt,
			Attempt: m.Attempt, MaxAttempts: m.MaxAttempts, Crashes: m.Crashes,
		}
		if e := last[p]; e != nil {
			w.End = endOf(e, m.Life, e.Time)
		}
		if w.suspect() {
			f.Waiting = append(f.Waiting, w)
		}
	}
	return nil
}

// suspect reports whether a job is to be looked at more closely.
func (w *Waiting) suspect() bool {
	return w.End != nil || w.MaxAttempts > 0 && w.Attempt > w.MaxAttempts || w.Crashes > maxCrashes
}

// late looks for jobs whose time came a while ago, and for ready ones of types that no worker has ever
// served: where there are many of those, a snapshot does not count them.
func (g *gatherer) late(ctx context.Context, f *Facts) error {
	return g.eachQueue(f, func(_ job.Name, s *view.Stream) error {
		q := queueOf(f.Snapshot, s.Queue)
		if q == nil || q.Later.Known() && q.Later.Value == 0 && q.Unclaimed.Known() {
			return nil
		}
		note := func(m *stream.Message) {
			read, ok := g.cfg.Store.ReadMessage(m)
			switch {
			case !ok:
			case read.RunAt.IsZero():
				f.orphan(read.Queue, read.Type, m.Seq)
			case f.Snapshot.At.Sub(read.RunAt) > dueLate:
				f.Late = append(f.Late, Waiting{Queue: read.Queue, Type: read.Type, ID: read.ID, Life: read.Life, Seq: m.Seq, Stored: read.Stored, RunAt: read.RunAt})
			}
		}
		if g.deep {
			return g.walk(ctx, s, 1, note)
		}
		head, err := g.cfg.View.Head(ctx, g.cfg.Store.AllOf(s.Name), max(s.FirstSeq, 1), s.LastSeq, sampleOfHead)
		if err != nil {
			return err
		}
		for _, m := range head {
			note(m)
		}
		if len(head) < sampleOfHead {
			return nil
		}
		return g.tail(ctx, s, head[len(head)-1].Seq, note)
	})
}

// orphan notes a ready job, unless the snapshot knows its type.
func (f *Facts) orphan(queueName, typ string, seq uint64) {
	if typeOf(f.Snapshot, queueName, typ) != nil {
		return
	}
	i := slices.IndexFunc(f.Orphans, func(o Orphan) bool { return o.Queue == queueName && o.Type == typ })
	if i < 0 {
		i = len(f.Orphans)
		f.Orphans = append(f.Orphans, Orphan{Queue: queueName, Type: typ, First: seq})
	}
	f.Orphans[i].Seen++
}

// dueLate is how late the broker may make a job ready: a worker's sweeper helps it after a minute.
const dueLate = 2 * time.Minute

func queueOf(s *view.Snapshot, name string) *view.Queue {
	for i := range s.Queues {
		if s.Queues[i].Name == name {
			return &s.Queues[i]
		}
	}
	return nil
}
