package queue

import (
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

// Of how many jobs of a type the events are subscribed to one by one. Of more, those of the whole
// type are, until so few are awaited again that the others would be too many to hear for nothing.
const (
	maxOwn  = 64
	minWide = 32
)

// maxHints is how many hints are kept until the leader hears them. What comes on top is lost, which
// the next look at all makes good.
const maxHints = 1024

// A typePlace is a type in a queue.
type typePlace struct{ queue, typ job.Name }

// A hearing is what is heard of the awaited jobs of a type.
type hearing struct {
	filter string // of all events of the type

	// Of the table's mutex.
	jobs    map[string]struct{} // subjects of the events that are awaited
	changed bool                // since the leader listened

	// The leader's.
	own  map[string]*nats.Subscription // by subject
	wide *nats.Subscription            // nil: there are own ones
}

// hearing returns that of a job's type. It needs the mutex.
func (t *waiters) hearing(p job.Place) *hearing {
	at := typePlace{p.Queue, p.Type}
	h := t.types[at]
	if h == nil {
		h = &hearing{filter: t.store.names.eventsOf(p), jobs: make(map[string]struct{}), own: make(map[string]*nats.Subscription)}
		t.types[at] = h
	}
	return h
}

func (h *hearing) add(subject string) {
	h.jobs[subject], h.changed = struct{}{}, true
}

func (h *hearing) remove(subject string) {
	delete(h.jobs, subject)
	h.changed = true
}

// listen subscribes to what is awaited, and to nothing else.
func (t *waiters) listen() {
	for h, subjects := range t.toHear() {
		if h.wide != nil && len(subjects) >= minWide || len(subjects) > maxOwn {
			t.hearWide(h)
			continue
		}
		t.hearOwn(h, subjects)
	}
}

// toHear returns the hearings that have changed, with the subjects to hear: none of those that are
// as they have to be.
func (t *waiters) toHear() map[*hearing][]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var changed map[*hearing][]string
	for at, h := range t.types {
		if !h.changed {
			continue
		}
		h.changed = false
		if h.wide != nil && len(h.jobs) >= minWide {
			continue
		}
		subjects := make([]string, 0, len(h.jobs))
		for s := range h.jobs {
			subjects = append(subjects, s)
		}
		if changed == nil {
			changed = make(map[*hearing][]string)
		}
		if changed[h] = subjects; len(subjects) == 0 {
			delete(t.types, at)
		}
	}
	return changed
}

func (t *waiters) hearWide(h *hearing) {
	if h.wide == nil {
		h.wide = t.subscribe(h.filter)
	}
	if h.wide == nil { // what there is is better than nothing
		return
	}
	for subject, sub := range h.own {
		_ = sub.Unsubscribe() // fails with the connection only
		delete(h.own, subject)
	}
}

func (t *waiters) hearOwn(h *hearing, subjects []string) {
	awaited := make(map[string]struct{}, len(subjects))
	for _, subject := range subjects {
		awaited[subject] = struct{}{}
		if h.own[subject] == nil {
			if sub := t.subscribe(subject); sub != nil {
				h.own[subject] = sub
			}
		}
	}
	for subject, sub := range h.own {
		if _, ok := awaited[subject]; !ok {
			_ = sub.Unsubscribe() // fails with the connection only
			delete(h.own, subject)
		}
	}
	if h.wide != nil {
		_ = h.wide.Unsubscribe() // fails with the connection only
		h.wide = nil
	}
}

// subscribe returns nil if that fails: then a read fails as well, and says why.
func (t *waiters) subscribe(subject string) *nats.Subscription {
	// Every publish to the subject of an event reaches plain subscribers too, refused ones as
	// well: a hint, not an event.
	sub, err := t.store.nc.ChanSubscribe(subject, t.hints)
	if err != nil {
		return nil
	}
	return sub
}

func (h *hearing) silence() {
	for _, sub := range h.own {
		_ = sub.Unsubscribe() // fails with the connection only
	}
	if h.wide != nil {
		_ = h.wide.Unsubscribe()
	}
}

// hear gives those a turn that a hint is about, and so with all that have come.
func (t *waiters) hear(m *nats.Msg) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := time.Now().Add(lookAfterHint)
	for {
		if job.EventKind(m.Header.Get(headerEvent)).Final() {
			for _, w := range t.jobs[m.Subject] {
				w.pause = lookAfterHint
				if _, ok := t.soon[w]; !ok || w.due.After(at) {
					t.turn(w, at)
				}
			}
		}
		select {
		case m = <-t.hints:
		default:
			return
		}
	}
}
