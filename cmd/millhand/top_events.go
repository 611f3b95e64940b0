package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/console"
	"github.com/millhand/millhand/internal/filter"
)

const (
	tailKept   = 2000 // events
	tailShown  = 200  // in a second; the rest is counted
	tailAgain  = 2 * time.Second
	tailBefore = time.Minute // what happened as long ago is shown at first
)

// A tail is the events of late. It asks for none until somebody looks.
type tail struct {
	asked chan struct{}
	once  sync.Once

	mu      sync.Mutex
	events  []millhand.Event // the oldest first
	unshown int
	second  time.Time // that events are counted in
	inIt    int
	err     error
}

func newTail() *tail { return &tail{asked: make(chan struct{})} }

// follow keeps what happens, from when it is first asked for until ctx ends.
func (t *tail) follow(ctx context.Context, c *millhand.Client) {
	select {
	case <-t.asked:
	case <-ctx.Done():
		return
	}
	since := time.Now().Add(-tailBefore)
	for ctx.Err() == nil {
		for e, err := range c.Events(ctx, since) {
			if t.add(e, err); err == nil {
				since = e.Time.Add(time.Nanosecond)
			}
		}
		again := time.NewTimer(tailAgain)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
		}
	}
}

func (t *tail) add(e millhand.Event, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err = err; err != nil {
		return
	}
	if second := time.Now().Truncate(time.Second); second != t.second {
		t.second, t.inIt = second, 0
	}
	if t.inIt++; t.inIt > tailShown {
		t.unshown++
		return
	}
	t.events = append(t.events, e)
	if len(t.events) >= 2*tailKept { // so that it is moved seldom
		t.events = slices.Clone(t.events[len(t.events)-tailKept:])
	}
}

// last are the events of late, the newest first.
func (t *tail) last() (events []millhand.Event, unshown int, err error) {
	t.once.Do(func() { close(t.asked) })
	t.mu.Lock()
	defer t.mu.Unlock()
	events = slices.Clone(t.events[max(0, len(t.events)-tailKept):])
	slices.Reverse(events)
	return events, t.unshown, t.err
}

func noneOfEvents() []filter.Key {
	return []filter.Key{filter.Word, filter.Payload, filter.Meta, filter.Trace, filter.By, filter.Wait}
}

func (l *loading) events() error {
	events, unshown, err := l.top.tail.last()
	if err != nil {
		return err
	}
	events = slices.DeleteFunc(events, func(e millhand.Event) bool { return !l.filter.Match(matchedEvent(&e), l.now) })
	from := &listing[millhand.Event]{
		columns: []column{{title: "TIME"}, {title: "EVENT"}, {title: "TYPE"}, {title: "JOB", short: shortID}, {title: "ATTEMPT", right: true, spare: true}, {title: "TOOK", spare: true}, {title: "WORKER", spare: true}, {title: "INFO"}},
		row: func(e millhand.Event) []cell {
			took := ""
			if !e.StartedAt.IsZero() {
				took = span(e.Time.Sub(e.StartedAt))
			}
			return []cell{
				plain(l.moment(e.Time)), {string(e.Kind), eventStyle(e.Kind)}, plain(e.Type), plain(e.ID), number(e.Attempt), plain(took), plain(e.Worker), plain(cmp.Or(e.Error, string(e.Reason))),
			}
		},
		empty: "nothing has ended since a minute before this was opened",
	}
	filterShown := l.filter
	l.filter = filter.Filter{}
	showTable(l, from, events, func(e millhand.Event) topRow {
		name := refOf(e.Ref).String()
		return topRow{Row: console.Row{Name: name + " " + e.Time.Format(time.RFC3339Nano), Into: &console.Screen{Kind: console.Job, Of: name}, Why: name, Detail: cli.OneLine(strings.TrimSpace(name + "  " + e.Error))}}
	})
	l.page.Note = "newest first"
	if unshown > 0 {
		l.page.Note = "+ " + thousands(int64(unshown)) + " not shown, newest first"
	}
	l.page.Command = "millhand watch " + filterShown.String()
	return nil
}
