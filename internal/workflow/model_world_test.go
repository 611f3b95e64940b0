package workflow

import (
	"errors"
	"iter"
	"slices"
)

// A modelWorld is who does something in a model: they go on one at a time, stop for good anywhere, or go
// on much later.
type modelWorld struct {
	rnd    dice
	seq    int // the broker's
	procs  []*modelProc
	frozen []*modelProc // they have lost their lease and do not know
}

// A dice decides what happens. A [rand.Rand] is one.
type dice interface {
	IntN(n int) int
	Float64() float64
	Perm(n int) []int
}

// A modelProc goes on a step at a time.
type modelProc struct {
	next func() (struct{}, bool)
	stop func()
	id   int // of what it has in hand
	gen  int
}

// nobody is the id of those who have nothing in hand.
const nobody = -2

var errModelCrash = errors.New("crashed")

func (m *modelWorld) chance(p float64) bool { return m.rnd.Float64() < p }

func (m *modelWorld) sequence() int {
	m.seq++
	return m.seq
}

// start has somebody do steps, between which others do something.
func (m *modelWorld) start(id, gen int, steps func(pause func())) *modelProc {
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if v := recover(); v != nil && v != any(errModelCrash) {
				panic(v)
			}
		}()
		steps(func() {
			if !yield(struct{}{}) {
				panic(errModelCrash)
			}
		})
	})
	p := &modelProc{next, stop, id, gen}
	m.procs = append(m.procs, p)
	return p
}

// alive reports whether somebody has not lost what he has in hand.
func (m *modelWorld) alive(p *modelProc) bool { return slices.Contains(m.procs, p) }

// holds reports whether somebody has it in hand who has not lost it.
func (m *modelWorld) holds(id int) bool {
	return slices.ContainsFunc(m.procs, func(p *modelProc) bool { return p.id == id })
}

func (m *modelWorld) goOn(procs *[]*modelProc) {
	i := m.rnd.IntN(len(*procs))
	if _, more := (*procs)[i].next(); !more {
		*procs = slices.Delete(*procs, i, i+1)
	}
}

func (m *modelWorld) crash() *modelProc {
	p := m.take()
	p.stop()
	return p
}

func (m *modelWorld) freeze() *modelProc {
	p := m.take()
	m.frozen = append(m.frozen, p)
	return p
}

func (m *modelWorld) take() *modelProc {
	i := m.rnd.IntN(len(m.procs))
	p := m.procs[i]
	m.procs = slices.Delete(m.procs, i, i+1)
	return p
}

// stop ends all.
func (m *modelWorld) stop() {
	for _, p := range slices.Concat(m.procs, m.frozen) {
		p.stop()
	}
}
