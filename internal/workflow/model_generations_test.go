package workflow

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// The model of generations is a group in a workflow that is cancelled and retried: a job publishes the others, as
// often as it dies; too many failures end the group early; what is left of it is cancelled; and a retry runs those
// again that have not succeeded. It goes by the same rules as the broker's side does, with crashes and frozen holders
// between any two operations.
func TestGenerationModel(t *testing.T) {
	histories := *modelHistories
	if histories == 0 {
		histories = 2_000
		if testing.Short() {
			histories = 500
		}
	}
	retries, early, cancels := 0, 0, 0
	for seed := range histories {
		m := newGenerationModel(rand.New(rand.NewPCG(uint64(seed), 4)), modelRules{})
		m.run()
		if m.wrong != "" {
			t.Fatalf("history %d: %s", seed, m.wrong)
		}
		retries, early, cancels = retries+m.tally.gen-1, early+m.early, cancels+m.cancels
	}
	if min(retries, early, cancels) < histories/50 {
		t.Errorf("only %d retries, %d early ends and %d cancellations in %d histories", retries, early, cancels, histories)
	}
}

func TestGenerationModelFindsWhatIsMissing(t *testing.T) {
	for name, weak := range map[string]struct {
		rules modelRules
		seed  int
	}{
		"a look of a moment ago":        {modelRules{stale: true}, 2},
		"shards of an older generation": {modelRules{unretried: true}, 6},
		"what follows from a count":     {modelRules{unfinished: true}, 12505},
		"an end in silence barred":      {modelRules{unbarredEnd: true}, 2698},
		"an end in silence held":        {modelRules{unheld: true}, 2312},
		"a failure that is told early":  {modelRules{untold: true}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			findsFault(t, weak.seed, func(seed uint64) string {
				m := newGenerationModel(rand.New(rand.NewPCG(seed, 4)), weak.rules)
				m.run()
				return m.wrong
			})
		})
	}
}

// A stepTally is what the tally of the workflow says about the group.
type stepTally struct {
	gen       int
	state     State
	cancelled bool
	failing   bool // the group will fail, and who waits for no more than that was told
}

// A groupMsg is the newest message of an id.
type groupMsg struct {
	seq, gen  int
	delivered int
	again     bool // whoever runs it looks first: it may have been published, or has run, before
}

type generationModel struct {
	modelWorld
	weak     modelRules
	layout   Layout
	tolerate *int

	tally, before stepTally // as it is, and as it was at the last but one write
	tallySeq      int
	root          *Root
	rootSeq       int
	shards        map[int]modelShard
	queue         map[int]*groupMsg // jobs by their number, then fillers and droppers by their generation
	events        map[modelLife]State
	kept          map[modelLife]bool // jobs whose success a retry has kept
	dropped       map[int]bool       // generations of which no job starts any more, by an order
	published     map[modelLife]int  // how often, by whoever does not know whether they were before
	silent        map[int]bool       // jobs of which a success in the first run leaves no event, in the first generation

	wrong                 string
	early, cancels, stops int
}

// fillerOf and dropperOf are the ids of the jobs that publish a generation, and that cancel what is left of it.
func fillerOf(gen int) int  { return -10 - gen }
func dropperOf(gen int) int { return -100 - gen }

func newGenerationModel(rnd dice, weak modelRules) *generationModel {
	m := &generationModel{
		modelWorld: modelWorld{rnd: rnd}, weak: weak, tally: stepTally{gen: 1}, before: stepTally{gen: 1},
		shards: make(map[int]modelShard), queue: make(map[int]*groupMsg), events: make(map[modelLife]State),
		kept: make(map[modelLife]bool), silent: make(map[int]bool), dropped: make(map[int]bool),
		published: make(map[modelLife]int),
	}
	m.layout = Layout{Jobs: m.rnd.IntN(7), Width: 1 + m.rnd.IntN(3)}
	if m.chance(.5) {
		n := m.rnd.IntN(3)
		m.tolerate = &n
	}
	for i := range m.layout.Jobs {
		m.silent[i] = m.chance(.2)
	}
	return m
}

func (m *generationModel) fail(format string, args ...any) {
	if m.wrong == "" {
		m.wrong = fmt.Sprintf(format, args...)
	}
}

func (m *generationModel) tolerates() int {
	if m.tolerate == nil {
		return 0
	}
	return *m.tolerate
}

func (m *generationModel) run() {
	defer m.stop()
	busy := []int{20, 60, 200, 400}[m.rnd.IntN(4)]
	m.start(nobody, 0, func(pause func()) { m.release(pause, 1) })
	for tick := 0; m.wrong == ""; tick++ {
		steps := m.choices(tick < busy)
		if len(steps) == 0 {
			m.judge()
			return
		}
		if tick > 20_000 {
			m.fail("does not come to an end")
			return
		}
		steps[m.rnd.IntN(len(steps))]()
	}
}

func (m *generationModel) choices(busy bool) (all []func()) {
	if len(m.procs) > 0 {
		all = append(all, slices.Repeat([]func(){func() { m.goOn(&m.procs) }}, 6)...)
	}
	if len(m.frozen) > 0 {
		all = append(all, func() { m.goOn(&m.frozen) })
	}
	for range 2 {
		all = append(all, m.deliveries()...)
	}
	if !busy {
		return all
	}
	// Whoever has nothing in hand is a job that is done again until it is done: the other model's.
	if len(m.procs) > 0 && !m.holds(nobody) {
		all = append(all, func() { m.crash() }, func() { m.freeze() })
	}
	switch {
	case m.tally.state != Pending && m.tally.gen < 3:
		all = append(all, m.retry)
	case m.tally.state == Pending && !m.tally.cancelled && m.chance(.1):
		all = append(all, m.cancel)
	}
	return all
}

func (m *generationModel) deliveries() (all []func()) {
	for _, id := range slices.Sorted(maps.Keys(m.queue)) {
		w := m.queue[id]
		if m.holds(id) {
			continue
		}
		all = append(all, func() {
			w.delivered++
			h := &groupHolder{generationModel: m, id: id, msg: *w}
			h.proc = m.start(id, w.gen, func(pause func()) {
				h.pause = pause
				h.settle()
			})
		})
	}
	return all
}

// setTally changes the tally.
func (m *generationModel) setTally(t stepTally) {
	m.before, m.tally, m.tallySeq = m.tally, t, m.sequence()
}

// cancel is what the job does that cancels the workflow, which is done again until it is done.
func (m *generationModel) cancel() {
	m.cancels++
	t := m.tally
	t.cancelled = true
	m.setTally(t)
	m.start(nobody, 0, func(pause func()) { // nobody crashes it: it would be done again
		m.release(pause, t.gen)
		m.publish(dropperOf(t.gen), groupMsg{gen: t.gen})
	})
}

// retry begins the next generation.
func (m *generationModel) retry() {
	gen := m.tally.gen + 1
	m.setTally(stepTally{gen: gen})
	m.start(nobody, 0, func(pause func()) { m.release(pause, gen) })
}

func (m *generationModel) release(pause func(), gen int) {
	pause()
	if m.root != nil && m.root.Gen == gen && m.layout.Jobs > 0 && m.root.Published >= m.layout.Jobs {
		return
	}
	pause()
	m.publish(fillerOf(gen), groupMsg{gen: gen})
}

// publish stores a message on the condition that none of its id is there.
func (m *generationModel) publish(id int, w groupMsg) {
	if m.queue[id] == nil {
		w.seq = m.sequence()
		m.queue[id] = &w
	}
}

// A groupHolder has a job in hand, or believes so.
type groupHolder struct {
	*generationModel
	pause func()
	proc  *modelProc
	id    int
	msg   groupMsg

	inSilence bool // it counts what no event says
	resumed   bool // somebody else may have counted jobs of the group, and not the shards that were full by that
}

func (h *groupHolder) ack() {
	h.pause()
	if w := h.queue[h.id]; w != nil && w.seq == h.msg.seq {
		delete(h.queue, h.id)
	}
}

func (h *groupHolder) settle() {
	switch {
	case h.id == fillerOf(h.msg.gen):
		h.fill()
		h.ack()
	case h.id == dropperOf(h.msg.gen):
		h.drop()
		h.ack()
	default:
		h.settleJob()
	}
}

func (h *groupHolder) settleJob() {
	life := modelLife{h.id, h.msg.gen}
	if h.msg.delivered > 1 {
		h.pause()
		if how := h.events[life]; how != Pending {
			h.arrive(h.id, how)
			h.ack()
			return
		}
		if h.hasSucceeded(h.id) {
			h.pause()
			h.events[life] = Succeeded
			h.arrive(h.id, Succeeded)
			h.ack()
			return
		}
		h.pause()
		if w := h.queue[h.id]; w != nil && w.seq == h.msg.seq { // lost: its successor
			h.queue[h.id] = &groupMsg{seq: h.sequence(), gen: h.msg.gen, again: true}
		}
		return
	}
	how, run, counted := h.instead()
	if counted && !h.weak.unfinished {
		h.arrive(h.id, how)
	}
	if !run && (how == Pending || counted) {
		h.ack()
		return
	}
	if run {
		h.judgeStart()
		if how = Succeeded; h.chance(.3) {
			how = Failed
		}
	}
	if how == Succeeded && run && h.msg.gen == 1 && !h.msg.again && h.silent[h.id] { // its bits are all that is written
		h.arriveInSilence(how)
		return
	}
	h.pause()
	if h.events[life] != Pending {
		return // lost: it writes nothing
	}
	h.events[life] = how
	h.arrive(h.id, how)
	h.ack()
}

// instead says whether a job is to run. Else it has ended before, is of an older generation or, if a state is
// returned, ends with that or was counted with it.
func (h *groupHolder) instead() (how State, run, counted bool) {
	h.pause()
	t := h.tally
	if h.chance(.5) { // as of a moment ago
		t = h.before
	}
	if t.gen < h.msg.gen && !h.weak.stale {
		h.pause()
		t = h.tally
	}
	if t.gen != h.msg.gen {
		return Pending, false, false
	}
	if h.msg.again {
		h.pause()
		s := h.shards[h.id/h.layout.Width]
		if s.Gen > h.msg.gen {
			return Pending, false, false
		}
		if how := s.At(h.id % h.layout.Width); s.Gen == h.msg.gen && how != Pending {
			return how, false, true
		}
	}
	if t.state != Pending || t.cancelled || h.dropped[h.msg.gen] {
		return Failed, false, false
	}
	return Pending, true, false
}

// judgeStart notes a start that should not be.
func (h *groupHolder) judgeStart() {
	if h.kept[modelLife{h.id, h.msg.gen}] {
		h.fail("job %d runs in generation %d, and its success was kept", h.id, h.msg.gen)
	}
}

// arrive counts the end of a job.
func (h *groupHolder) arrive(id int, how State) {
	h.arriveAll(id/h.layout.Width, JobEnd{id % h.layout.Width, how})
}

func (h *groupHolder) arriveAll(k int, ends ...JobEnd) {
	for {
		h.pause()
		s := h.shards[k]
		if s.Gen > h.msg.gen {
			return
		}
		s.Gen = h.msg.gen
		next, changed := s.EndAll(ends)
		if changed && h.inSilence && !h.weak.unheld && !h.alive(h.proc) {
			return
		}
		if changed {
			h.pause()
			if h.shards[k].seq != s.seq {
				continue
			}
			h.shards[k] = modelShard{next, h.sequence(), 0}
		}
		h.tellFailing(&next)
		h.countShard(k, &next)
		return
	}
}

func (h *groupHolder) countShard(k int, s *Shard) {
	c := s.Counts()
	full := c.Ended() >= h.layout.Size(k)
	if !full && (h.tolerate == nil || c.Failed == 0) {
		return
	}
	if r, ok := h.changeRoot(func(r *Root) (Root, bool) {
		if full {
			return r.Fill(k, c)
		}
		return r.Fail(k, c.Failed)
	}); ok {
		h.endGroup(&r)
	}
}

// changeRoot writes what follows from the root. It reports false if it is of another generation.
func (h *groupHolder) changeRoot(f func(*Root) (Root, bool)) (Root, bool) {
	for {
		h.pause()
		if h.root == nil || h.root.Gen != h.msg.gen {
			return Root{}, false
		}
		seq := h.rootSeq
		next, changed := f(h.root)
		if !changed {
			return next, true
		}
		h.pause()
		if h.rootSeq == seq {
			h.root, h.rootSeq = &next, h.sequence()
			return next, true
		}
	}
}

func (h *groupHolder) endGroup(r *Root) {
	state, ended := r.End(h.layout.Width, h.tolerates())
	early := !ended && h.tolerate != nil && r.Fails(*h.tolerate)
	if early {
		state = Failed
	}
	if !ended && !early {
		return
	}
	if !h.count(state, ended) || !early {
		return
	}
	h.pause()
	h.publish(dropperOf(h.msg.gen), groupMsg{gen: h.msg.gen})
}

// count counts the end of the step. It reports false if it is of another generation.
func (h *groupHolder) count(state State, ended bool) bool {
	for {
		h.pause()
		t, seq := h.tally, h.tallySeq
		if t.gen != h.msg.gen {
			return false
		}
		if t.state != Pending {
			return true
		}
		h.pause()
		if h.tallySeq != seq {
			continue
		}
		if h.tolerate == nil && h.root.Failed > 0 && !t.failing {
			h.fail("the group ended, and nobody was told before that it would fail")
		}
		if ended {
			h.judgeEnd(t)
		} else {
			h.early++
		}
		t.state = state
		h.setTally(t)
		return true
	}
}

// judgeEnd notes an end of the group that comes before that of its jobs.
func (h *groupHolder) judgeEnd(t stepTally) {
	for i := range h.layout.Jobs {
		known := t.cancelled
		for gen := 1; gen <= h.msg.gen; gen++ {
			how := h.events[modelLife{i, gen}]
			known = known || how == Succeeded || how != Pending && gen == h.msg.gen
		}
		s := h.shards[i/h.layout.Width]
		known = known || h.silent[i] && s.At(i%h.layout.Width) == Succeeded
		if !known {
			h.fail("the group ended before its job %d", i)
		}
	}
}
