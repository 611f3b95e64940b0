package view

import (
	"cmp"
	"context"
	"time"

	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// What one step of a list looks at, at most: for a page, and for a search that somebody waits for.
const (
	pageLooks   = 20_000
	pageTime    = time.Second
	searchLooks = 200_000
	searchTime  = 5 * time.Second
)

// An Order is the order of a list.
type Order string

// The orders.
const (
	Usual       Order = ""             // jobs that are ready or run: the oldest first; others: the newest first
	NewestFirst Order = "newest_first" // by when they came into their state
	OldestFirst Order = "oldest_first"
)

// A Query says which jobs are listed.
type Query struct {
	Filter filter.Filter
	Cursor string // of the page before; empty: from the beginning
	N      int    // how many jobs at most; 0: 50
	Order  Order
	Search bool // with the budget of a search

	// Before is when an operation on all that match began; zero: it is a list. What came into its state later
	// is not meant, other than a job that was ready and has started since, if ready ones are. Jobs that run come
	// last: each that ends makes room for one that waits.
	Before time.Time

	// Visible says which jobs may be listed, whatever the filter says; nil: all.
	Visible func(queue, typ string) bool
}

// meant reports whether a query is about a job.
func (q *Query) meant(j *Job, now time.Time) bool {
	return (q.Visible == nil || q.Visible(j.Queue, j.Type)) && j.isMeant(q.Filter, now) && (q.Before.IsZero() || q.cameBefore(j))
}

func (q *Query) cameBefore(j *Job) bool {
	came := j.Since
	if j.State == job.Running && !j.ReadyAt.IsZero() && wants(q.Filter, job.Ready, j.Queue, j.Type) {
		came = j.ReadyAt
	}
	return came.Before(q.Before)
}

// A Page is a part of a list.
type Page struct {
	Jobs   []Job        `json:"jobs"`
	Class  filter.Class `json:"class"`
	Total  Count        `json:"total"` // of all jobs that match; unknown where only reading them would tell
	Looked Looked       `json:"looked"`
	Cursor string       `json:"cursor,omitempty"` // goes on behind the page; empty: there is no more
}

// Looked says what a page was found in. That a page has no jobs means only that there are none there.
type Looked struct {
	Messages int64     `json:"messages"` // that were read for it
	Of       Count     `json:"of"`       // that there are where it looks
	Order    Order     `json:"order"`
	BackTo   time.Time `json:"back_to,omitzero"` // when the last one that was read was stored
}

// List returns a page of the jobs that match, in the order of their states: those that run, those
// that are ready, those that wait for their time, and those that have ended. It reads until the page
// is full or its budget is spent, and then says where to go on. It returns [ErrCursor] for a cursor
// that is not of such a list.
func (v *View) List(ctx context.Context, q Query) (*Page, error) {
	s, err := v.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	l, err := v.plan(ctx, q, s)
	if err != nil {
		return nil, err
	}
	if ids, ok := q.Filter.Names(filter.ID); ok {
		return v.listIDs(ctx, q, ids, s.At)
	}
	page := &Page{Jobs: []Job{}, Class: q.Filter.Class()}
	page.Looked.Of, page.Total = l.extent()
	page.Looked.Order = l.order()
	if err := l.read(ctx, page); err != nil {
		return nil, err
	}
	return page, nil
}

// listIDs lists the jobs with these ids that match.
func (v *View) listIDs(ctx context.Context, q Query, ids []string, now time.Time) (*Page, error) {
	page := &Page{Jobs: []Job{}, Class: filter.Point}
	for _, id := range ids {
		find := v.Find
		if states := q.Filter.States(); len(states) == 1 && states[0] == job.Dead {
			find = v.findDead
		}
		found, err := find(ctx, id)
		if err != nil {
			return nil, err
		}
		for i := range found {
			j := &found[i]
			if j.State == job.Ready {
				if err := v.askWorkers(ctx, j); err != nil {
					return nil, err
				}
			}
			if q.meant(j, now) {
				page.Jobs = append(page.Jobs, *j)
			}
		}
	}
	page.Total = Counted(int64(len(page.Jobs)), Exact, now)
	page.Looked.Of = page.Total
	page.Looked.Messages = page.Total.Value
	return page, nil
}

// findDead returns what is dead of an id, whatever has become of it since.
func (v *View) findDead(ctx context.Context, id string) (found []Job, err error) {
	for d, err := range v.cfg.Store.Dead(ctx, queue.DeadFilter{ID: id}) {
		if err != nil {
			return nil, err
		}
		found = append(found, deadJob(d))
	}
	return found, nil
}

// askWorkers asks who runs a job that is ready.
func (v *View) askWorkers(ctx context.Context, j *Job) error {
	r, runs, err := v.cfg.Registry.Owner(ctx, j.Queue, j.Type, j.ID)
	if runs && (r.Life == "" || r.Life == j.Life) {
		j.addRunning(&r)
	}
	return err
}

// A list reads the sources of a query one after the other.
type list struct {
	view    *View
	query   Query
	now     time.Time // by the broker's clock
	want    int
	looks   int64
	until   time.Time
	sources []source
	at      position
}

// A position is behind which message of which source a page begins. The zero value is the beginning.
type position struct {
	source int
	seq    uint64 // 0: at the beginning of the source
}

// A source yields jobs of one kind in one order.
type source interface {
	// name tells a source from others of a list, and is the same for the next page.
	name() string
	// next returns jobs behind a sequence, 0 for the first ones.
	next(ctx context.Context, behind uint64) (chunk, error)
	// order is the order of its jobs.
	order() Order
	// extent is how many messages there are to be looked at, and how many jobs match, given that the
	// filter names only states, queues and types.
	extent() (messages, matching Count)
}

// A chunk is what a source has read.
type chunk struct {
	rows   []row
	looked int       // messages
	behind uint64    // where the next chunk begins
	at     time.Time // when the last message that was read was stored
	end    bool      // there is no more
}

// A row is a job and its place in the order of its source.
type row struct {
	Job
	behind uint64
}

// read fills a page, or spends the budget.
func (l *list) read(ctx context.Context, page *Page) error {
	for l.at.source < len(l.sources) {
		c, err := l.sources[l.at.source].next(ctx, l.at.seq)
		if err != nil {
			return err
		}
		page.Looked.Messages += int64(c.looked)
		if !c.at.IsZero() {
			page.Looked.BackTo = c.at
		}
		if err := l.view.complete(ctx, l.query.Filter, c.rows); err != nil {
			return err
		}
		taken := l.take(page, c.rows)
		switch {
		case taken < len(c.rows):
			l.at.seq = c.rows[taken-1].behind
		case c.end:
			l.at = position{source: l.at.source + 1}
		default:
			l.at.seq = c.behind
		}
		if len(page.Jobs) == l.want || page.Looked.Messages >= l.looks || time.Now().After(l.until) {
			break
		}
	}
	if of := &page.Looked.Of; of.Known() && page.Looked.Messages > of.Value { // some have come since it was counted
		of.Value, of.How = page.Looked.Messages, About
	}
	if l.at.source < len(l.sources) {
		page.Cursor = cursorOf(l.query.Filter, l.sources[l.at.source].name(), l.at.seq)
	}
	return l.view.dress(ctx, page.Jobs)
}

// take adds the rows that match to a page until that is full, and returns how many it has looked at.
func (l *list) take(page *Page, rows []row) (taken int) {
	for i := range rows {
		if len(page.Jobs) == l.want {
			return i
		}
		if l.query.meant(&rows[i].Job, l.now) {
			page.Jobs = append(page.Jobs, rows[i].Job)
		}
	}
	return len(rows)
}

// extent is how many messages all sources have, and how many jobs match, if the names of states,
// queues and types say so.
func (l *list) extent() (messages, matching Count) {
	messages, matching = Counted(0, Exact, l.now), Counted(0, Exact, l.now)
	for _, s := range l.sources {
		n, match := s.extent()
		messages, matching = messages.Plus(n), matching.Plus(match)
	}
	for i := range l.query.Filter.Terms {
		switch l.query.Filter.Terms[i].Key { //nolint:exhaustive // all others have to be looked at
		case filter.State, filter.Queue, filter.Type:
		default:
			return messages, Uncounted()
		}
	}
	return messages, matching
}

// order is that of all sources, or the usual one if they differ.
func (l *list) order() Order {
	var order Order
	for i, s := range l.sources {
		if i > 0 && s.order() != order {
			return Usual
		}
		order = s.order()
	}
	return order
}

// wants reports whether a job of a state, queue and type could match.
func wants(f filter.Filter, state job.State, queueName, typ string) bool {
	has := func(k filter.Key, name string) bool {
		for i := range f.Terms {
			t := &f.Terms[i]
			if name == "" || t.Key != k {
				continue
			}
			if alone := (filter.Filter{Terms: []filter.Term{*t}}); !alone.Match(&filter.Job{State: state, Queue: queueName, Type: typ}, time.Time{}) {
				return false
			}
		}
		return true
	}
	return has(filter.State, string(state)) && has(filter.Queue, queueName) && has(filter.Type, typ)
}

// pageSize returns n, or 50 if that is none.
func pageSize(n int) int { return cmp.Or(max(n, 0), 50) }
