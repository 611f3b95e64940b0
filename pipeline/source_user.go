package pipeline

import (
	"sync"
	"time"
)

// A Starter is an [Acker] that wants to know when the work on a message begins. Start is called on the
// processor's goroutine before the first call of Process for it, and must not block.
type Starter interface {
	Start(ref any)
}

// An Attacher is a [Source] that wants to know whose messages it hands out. Attach is called when a Run
// begins, before anything else is asked of the source.
type Attacher interface {
	Attach(u User)
}

// A Lagger is a [Source] that knows what waits in it. Lag may be called at any time, from any goroutine, while
// its pipeline runs, and must not block.
type Lagger interface {
	Lag() []Lag
}

// A Lag is what waits in a source, or in one of its partitions.
type Lag struct {
	Partition int   // from 0; -1: it has none, and all processes that share the source see the same
	Messages  int64 // that are stored and not settled
	// Oldest is when the oldest of them that this process knows was stored. Zero: it knows none.
	Oldest time.Time
}

// Age is how long the oldest message has waited. It is not known if messages wait of which this process has
// none.
func (l Lag) Age(now time.Time) (d time.Duration, known bool) {
	switch {
	case l.Messages == 0:
		return 0, true
	case l.Oldest.IsZero():
		return 0, false
	}
	return max(now.Sub(l.Oldest), 0), true
}

// Lag is what waits in all the sources that say it.
func (m *merged[T]) Lag() (all []Lag) {
	for _, s := range m.sources {
		if l, ok := s.source.(Lagger); ok {
			all = append(all, l.Lag()...)
		}
	}
	return all
}

// A User is the pipeline that has a source.
type User struct {
	Name     string
	InFlight int          // how many messages it has in hand at most
	Stats    func() Stats // what it does at the moment

	// DrainTimeout is how long it waits for what it has in hand when it stops. What is left is handed
	// back then, or ten seconds later.
	DrainTimeout time.Duration

	// Shut is to be told whether the source knows that nothing can come for now, as where a quota keeps
	// it from taking more: open batches do not wait for more then. It may be called at any time.
	Shut func(bool)

	// Full is likewise to be told whether the source has no room for more messages beside those in hand.
	Full func(bool)
}

// started tells a message's acker that it goes into Process for the first time.
func (e *envelope) started() {
	if s, ok := e.acker.(Starter); ok {
		s.Start(e.ref)
	}
}

// attach tells a source whose it is.
func (p *Pipeline[T]) attach() error {
	a, ok := p.config.Source.(Attacher)
	if !ok {
		return nil
	}
	return contained(func() error {
		a.Attach(User{
			Name: p.config.Name, InFlight: p.config.InFlight, DrainTimeout: p.config.DrainTimeout, Stats: p.Stats,
			Shut: p.source(func(a *account, is bool) { a.shut = is }), Full: p.source(func(a *account, is bool) { a.full = is }),
		})
		return nil
	})
}

// source returns a function by which the source says something about itself.
func (p *Pipeline[T]) source(says func(a *account, is bool)) func(bool) {
	return func(is bool) {
		p.mu.Lock()
		r := p.current
		p.mu.Unlock()
		if r != nil {
			r.account.update(func() { says(r.account, is) })
		}
	}
}

// Attach tells each of the sources. All of them together are shut when each is, or has no room.
func (m *merged[T]) Attach(u User) {
	told := u.Shut
	var mu sync.Mutex
	shut := make(map[int]bool)
	for i, s := range m.sources {
		a, ok := s.source.(Attacher)
		if !ok {
			continue
		}
		u.Shut = func(is bool) {
			mu.Lock()
			defer mu.Unlock()
			if shut[i] = is; !is {
				delete(shut, i)
			}
			told(len(shut) == len(m.sources))
		}
		u.Full = u.Shut
		a.Attach(u)
	}
}
