package workflow

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// The model of groups is how the ends of many jobs become that of one step: bits in shards, shards in a
// root, sealed by whoever published the jobs, with crashes and frozen holders as in the other model.
// Afterwards the group has ended, and not before its jobs.
func TestGroupModel(t *testing.T) {
	histories := *modelHistories
	if histories == 0 {
		histories = 2_000
		if testing.Short() {
			histories = 500
		}
	}
	for seed := range histories {
		m := newGroupModel(rand.New(rand.NewPCG(uint64(seed), 3)), modelRules{})
		m.run()
		if m.wrong != "" {
			t.Fatalf("history %d: %s", seed, m.wrong)
		}
	}
}

func TestGroupModelFindsWhatIsMissing(t *testing.T) {
	for name, weak := range map[string]struct {
		rules modelRules
		seed  int
	}{
		"counters":                 {modelRules{counted: true}, 194},
		"sealed and not looked at": {modelRules{blind: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			findsFault(t, weak.seed, func(seed uint64) string {
				m := newGroupModel(rand.New(rand.NewPCG(seed, 3)), weak.rules)
				m.run()
				return m.wrong
			})
		})
	}
}

type modelShard struct {
	Shard
	seq   int
	count int // in place of bits
}

type groupModel struct {
	modelWorld
	weak   modelRules
	layout Layout

	shards  map[int]modelShard
	root    Root
	rootSeq int
	queue   map[int]*modelMsg
	events  map[int]State
	created bool
	ended   State
	wrong   string
}

func newGroupModel(rnd dice, weak modelRules) *groupModel {
	m := &groupModel{
		modelWorld: modelWorld{rnd: rnd}, weak: weak, root: Root{Gen: 1},
		shards: make(map[int]modelShard), queue: make(map[int]*modelMsg), events: make(map[int]State),
	}
	m.layout = Layout{Jobs: m.rnd.IntN(10), Width: 1 + m.rnd.IntN(3)}
	return m
}

func (m *groupModel) run() {
	defer m.stop()
	busy := []int{0, 20, 60, 200}[m.rnd.IntN(4)]
	m.start(nobody, 0, m.create)
	for tick := 0; m.wrong == ""; tick++ {
		steps := m.choices(tick < busy)
		if len(steps) == 0 {
			m.judge()
			return
		}
		steps[m.rnd.IntN(len(steps))]()
	}
}

func (m *groupModel) choices(busy bool) (all []func()) {
	if len(m.procs) > 0 {
		all = append(all, slices.Repeat([]func(){func() { m.goOn(&m.procs) }}, 6)...)
	}
	if len(m.frozen) > 0 {
		all = append(all, func() { m.goOn(&m.frozen) })
	}
	for range 2 {
		all = append(all, m.deliveries()...)
	}
	if !m.created && !m.holds(nobody) {
		all = append(all, func() { m.start(nobody, 0, m.create) })
	}
	if busy && len(m.procs) > 0 {
		all = append(all, func() { m.crash() }, func() { m.freeze() })
	}
	return all
}

// deliveries are those of messages that nobody has in hand who knows.
func (m *groupModel) deliveries() (all []func()) {
	for _, i := range slices.Sorted(maps.Keys(m.queue)) {
		w := m.queue[i]
		if m.holds(i) {
			continue
		}
		all = append(all, func() {
			w.delivered++
			had := *w
			m.start(i, 0, func(pause func()) { m.hold(pause, i, had) })
		})
	}
	return all
}

// create publishes the jobs, seals the group, and looks at all shards.
func (m *groupModel) create(pause func()) {
	for i := range m.layout.Jobs {
		pause()
		if m.queue[i] == nil && m.events[i] == Pending {
			m.queue[i] = &modelMsg{seq: m.sequence()}
		}
	}
	m.change(pause, func(r *Root) (Root, bool) { return r.Seal(m.layout.Jobs) })
	if !m.weak.blind {
		for k := range m.layout.Shards() {
			pause()
			m.fill(pause, k, m.shards[k])
		}
	}
	m.finish(pause)
	m.created = true
}

// change writes a root that follows from the stored one.
func (m *groupModel) change(pause func(), f func(*Root) (Root, bool)) {
	for {
		pause()
		root, seq := m.root, m.rootSeq
		next, changed := f(&root)
		if !changed {
			return
		}
		pause()
		if m.rootSeq == seq {
			m.root, m.rootSeq = next, m.sequence()
			return
		}
	}
}

// fill counts a shard that is full in the root.
func (m *groupModel) fill(pause func(), k int, s modelShard) {
	c := s.Counts()
	if n := c.Ended(); !m.weak.counted && n < m.layout.Size(k) || m.weak.counted && s.count < m.layout.Size(k) {
		return
	}
	m.change(pause, func(r *Root) (Root, bool) { return r.Fill(k, c) })
	m.finish(pause)
}

// finish ends the group if all shards are full.
func (m *groupModel) finish(pause func()) {
	pause()
	state, ended := m.root.End(m.layout.Width, 0)
	if !ended {
		return
	}
	pause()
	switch {
	case len(m.events) < m.layout.Jobs:
		m.wrong = "the group ended before its jobs"
	case m.ended == Pending:
		m.ended = state
	case m.ended != state:
		m.wrong = "the group ended twice"
	}
}

// hold is what whoever has a job in hand does.
func (m *groupModel) hold(pause func(), i int, msg modelMsg) {
	how := Succeeded
	if m.rnd.IntN(20) == 0 {
		how = Failed
	}
	pause()
	switch was := m.events[i]; {
	case was != Pending && msg.delivered == 1:
		return // lost: it writes nothing
	case was != Pending:
		how = was
	case msg.delivered > 1:
		m.queue[i] = &modelMsg{seq: m.sequence()}
		return
	}
	m.events[i] = how
	m.arrive(pause, i, how)
	pause()
	if w := m.queue[i]; w != nil && w.seq == msg.seq {
		delete(m.queue, i)
	}
}

// arrive counts the end of a job.
func (m *groupModel) arrive(pause func(), i int, how State) {
	k, at := i/m.layout.Width, i%m.layout.Width
	for {
		pause()
		s := m.shards[k]
		next, first := s.End(at, how)
		if first || m.weak.counted {
			pause()
			if m.shards[k].seq != s.seq {
				continue
			}
			s = modelShard{next, m.sequence(), s.count + 1}
			m.shards[k] = s
		}
		pause()
		if m.root.Sealed != nil {
			m.fill(pause, k, s)
		}
		return
	}
}

func (m *groupModel) judge() {
	failed := 0
	for _, how := range m.events {
		if how == Failed {
			failed++
		}
	}
	switch {
	case len(m.events) != m.layout.Jobs || len(m.queue) > 0:
		m.wrong = "a job did not end"
	case m.ended == Pending:
		m.wrong = fmt.Sprintf("the group did not end: %v %v", m.shards, m.root)
	case m.weak.counted: // its sums are none
	case m.root.Failed != failed || m.root.Succeeded != m.layout.Jobs-failed || (m.ended == Failed) != (failed > 0):
		m.wrong = fmt.Sprintf("%d of %d failed, the group says %+v", failed, m.layout.Jobs, m.root)
	}
}
