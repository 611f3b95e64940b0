package window

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
)

// session is a run of events of one key.
type session[K comparable, T, A any] struct {
	entry[K, A]
	start, end int64
	kept       []Kept[T]
	passed     bool // the watermark is beyond the end
	due        int64
	place      int // in the queue
	born       int // tells those apart that are due at once
}

// Kept is an event of a session, and how many events of sessions there had been before it.
type Kept[T any] struct {
	N     int
	Value T
}

// sessions are by key, and in a queue by when they are due.
type sessions[K comparable, T, A any] struct {
	byKey map[K][]*session[K, T, A] // by start
	queue sessionQueue[K, T, A]
	taken int // events
	born  int
}

func (o *Operator[K, T, A]) addToSession(key K, value T, at int64) bool {
	s := o.sessionFor(key, at)
	if s == nil {
		return false
	}
	o.sessions.taken++
	if o.f.Merge != nil {
		s.acc = o.f.Fold(s.acc, value)
	} else {
		s.kept = append(s.kept, Kept[T]{o.sessions.taken, value})
		o.accumulators++
	}
	s.n++
	s.changed = true
	s.passed = s.end <= o.low
	o.sessions.place(s, o.c.Late > 0, int64(o.c.Late))
	if o.c.EveryN > 0 && s.n%o.c.EveryN == 0 {
		o.emitSession(s, Every, false)
	}
	o.schedule()
	return true
}

// sessionFor returns the session of an event, which reaches to it from then on. What becomes one
// session through it is merged. It is nil if the event is late.
func (o *Operator[K, T, A]) sessionFor(key K, at int64) *session[K, T, A] {
	end := add(at, o.size)
	of := o.sessions.byKey[key]
	from, _ := slices.BinarySearchFunc(of, at, func(s *session[K, T, A], at int64) int { return cmp.Compare(s.end, at+1) })
	to := from
	for to < len(of) && of[to].start < end {
		to++
	}
	if from == to {
		if add(end, int64(o.c.Late)) <= o.low {
			return nil
		}
		o.sessions.born++
		s := &session[K, T, A]{entry: entry[K, A]{key: key}, start: at, end: end, place: -1, born: o.sessions.born}
		if o.f.Merge != nil {
			s.acc = o.f.Zero(key)
			o.accumulators++
		}
		o.sessions.byKey[key] = slices.Insert(of, from, s)
		return s
	}
	s := of[from]
	for _, other := range of[from+1 : to] {
		o.merge(s, other)
	}
	o.sessions.byKey[key] = slices.Delete(of, from+1, to)
	s.start, s.end = min(s.start, at), max(s.end, end)
	return s
}

func (o *Operator[K, T, A]) merge(s, other *session[K, T, A]) {
	heap.Remove(&o.sessions.queue, other.place)
	if o.f.Merge != nil {
		s.acc = o.f.Merge(s.acc, other.acc)
		o.accumulators--
	} else {
		s.kept = append(s.kept, other.kept...)
		slices.SortFunc(s.kept, func(a, b Kept[T]) int { return cmp.Compare(a.N, b.N) })
	}
	s.n += other.n
	s.revision = max(s.revision, other.revision)
	s.end = max(s.end, other.end)
}

func (o *Operator[K, T, A]) markSession(key K, at int64) {
	for _, s := range o.sessions.byKey[key] {
		if s.start <= at && at < s.end {
			o.emitSession(s, Marked, false)
		}
	}
}

// emitSession folds what was kept, in the order in which it came.
func (o *Operator[K, T, A]) emitSession(s *session[K, T, A], t Trigger, final bool) {
	if o.f.Merge == nil {
		s.acc = o.f.Zero(s.key)
		for _, k := range s.kept {
			s.acc = o.f.Fold(s.acc, k.Value)
		}
	}
	o.emit(s.start, s.end, &s.entry, t, final)
}

// advanceSession does what is due for the session that is due first.
func (o *Operator[K, T, A]) advanceSession() {
	s := o.sessions.queue[0]
	if o.c.Late > 0 && !s.passed {
		s.passed = true
		o.sessions.place(s, true, int64(o.c.Late))
		o.emitSession(s, Watermark, false)
		return
	}
	o.finishSession(s)
}

func (o *Operator[K, T, A]) finishSession(s *session[K, T, A]) {
	o.emitSession(s, Done, true)
	heap.Remove(&o.sessions.queue, s.place)
	of := o.sessions.byKey[s.key]
	i := slices.Index(of, s)
	if of = slices.Delete(of, i, i+1); len(of) == 0 {
		delete(o.sessions.byKey, s.key)
	} else {
		o.sessions.byKey[s.key] = of
	}
	o.accumulators -= len(s.kept)
	if o.f.Merge != nil {
		o.accumulators--
	}
}

// place puts a session where it belongs in the queue.
func (ss *sessions[K, T, A]) place(s *session[K, T, A], twice bool, late int64) {
	s.due = s.end
	if twice && s.passed {
		s.due = add(s.end, late)
	}
	if s.place < 0 {
		heap.Push(&ss.queue, s)
		return
	}
	heap.Fix(&ss.queue, s.place)
}

func (ss *sessions[K, T, A]) due() int64 {
	if len(ss.queue) == 0 {
		return math.MaxInt64
	}
	return ss.queue[0].due
}

// inOrder returns all sessions in the order of their ends.
func (ss *sessions[K, T, A]) inOrder() []*session[K, T, A] {
	all := slices.Clone(ss.queue)
	slices.SortFunc(all, func(a, b *session[K, T, A]) int {
		return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.start, b.start), cmp.Compare(a.born, b.born))
	})
	return all
}

// sessionQueue is a heap by when sessions are due.
type sessionQueue[K comparable, T, A any] []*session[K, T, A]

func (q *sessionQueue[K, T, A]) Len() int { return len(*q) }

func (q *sessionQueue[K, T, A]) Less(i, j int) bool {
	a, b := (*q)[i], (*q)[j]
	if a.due == b.due && a.passed != b.passed {
		return b.passed // as with other windows: first what passes, then what is done
	}
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.start, b.start), cmp.Compare(a.born, b.born)) < 0
}

func (q *sessionQueue[K, T, A]) Swap(i, j int) {
	all := *q
	all[i], all[j] = all[j], all[i]
	all[i].place, all[j].place = i, j
}

// Push is called by the heap.
func (q *sessionQueue[K, T, A]) Push(x any) {
	s := x.(*session[K, T, A]) //nolint:errcheck // nothing else is put there
	s.place = len(*q)
	*q = append(*q, s)
}

// Pop is called by the heap.
func (q *sessionQueue[K, T, A]) Pop() any {
	old := *q
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return s
}
