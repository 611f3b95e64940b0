package workflow

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

var modelHistories = flag.Int("workflow-histories", 0, "histories of the workflow models; 0: a number that takes a second")

// modelRules are what those go by who write for a workflow. Each field takes one rule away.
type modelRules struct {
	unchecked bool // a worker starts a step without a look at the tally
	ackFirst  bool // the ack comes before the arrival
	unbarred  bool // the driver leaves the run open whose tally it does not find
	deposed   bool // a worker that lost its step adds others all the same
	refused   bool // whoever releases a step takes the job of an older generation for it

	counted bool // of groups: counters in place of bits
	blind   bool // whoever seals a group does not look at its shards

	stale      bool // a look of a moment ago decides, though it is of an older generation
	unretried  bool // the shards of an older generation are left as they are
	unfinished bool // whoever finds his job counted leaves what follows from that to whoever counted it

	unbarredEnd bool // whoever is handed a job again leaves the tally as it is, so that who had it may count an end in silence
	untold      bool // whoever counts a failure in a group leaves it to the group's end to say so
	unheld      bool // who had it does not look whether he still has, before he counts an end in silence
}

// The workflow model is the rules by which workflows come to their end, against an abstract broker: random
// graphs in random histories with crashes between any two operations of the broker, holders that go on
// after they lost their lease, creators that die and try again, cancels, steps that add others, and retries.
//
// Afterwards each step has ended once, none began before its gate was open, and each generation that began
// has one end.
func TestWorkflowModel(t *testing.T) {
	histories := *modelHistories
	if histories == 0 {
		histories = 2_000
		if testing.Short() {
			histories = 500
		}
	}
	runs, crashes, retries, grown, undone, late, stops := 0, 0, 0, 0, 0, 0, 0
	for seed := range histories {
		m := newModel(rand.New(rand.NewPCG(uint64(seed), 2)), modelRules{})
		m.run()
		if bad := m.broken(); bad != "" {
			t.Fatalf("history %d: %s", seed, bad)
		}
		runs, crashes, grown, undone = runs+m.started, crashes+m.lost, grown+m.grown, undone+m.undone
		late, stops = late+m.late, stops+m.stops
		if m.tally != nil {
			retries += max(0, m.tally.Gen-1)
		}
	}
	if runs < histories || crashes < histories || min(retries, grown, undone, late, stops) < histories/100 {
		t.Errorf("only %d runs, %d crashes, %d retries, %d growths, %d undos, %d deadlines and %d failures that stop others in %d histories",
			runs, crashes, retries, grown, undone, late, stops, histories)
	}
	t.Logf("%d runs, %d crashes and frozen holders, %d retries, %d growths, %d undos, %d deadlines, %d failures that stop others",
		runs, crashes, retries, grown, undone, late, stops)
}

// The model finds what each rule is for. The first history that shows it is known, since a search takes
// long; a change of the model makes it another one.
func TestWorkflowModelFindsWhatIsMissing(t *testing.T) {
	for name, weak := range map[string]struct {
		rules modelRules
		seed  int
	}{
		"no look before the start":       {modelRules{unchecked: true}, 1},
		"ack before arrival":             {modelRules{ackFirst: true}, 14},
		"a run that nobody barred":       {modelRules{unbarred: true}, 18426},
		"steps added by one who lost it": {modelRules{deposed: true}, 23},
		"refused by an older generation": {modelRules{refused: true}, 335},
		"what follows from a count":      {modelRules{unfinished: true}, 41739},
		"an end in silence barred":       {modelRules{unbarredEnd: true}, 67071},
		"an end in silence held":         {modelRules{unheld: true}, 7078},
	} {
		t.Run(name, func(t *testing.T) {
			findsFault(t, weak.seed, func(seed uint64) string {
				m := newModel(rand.New(rand.NewPCG(seed, 2)), weak.rules)
				m.run()
				return m.broken()
			})
		})
	}
}

// findsFault fails the test unless a history shows that something is wrong.
func findsFault(t *testing.T, known int, broken func(seed uint64) string) {
	t.Helper()
	if bad := broken(uint64(known)); bad != "" {
		t.Log(bad)
		return
	}
	for seed := range 200_000 {
		if bad := broken(uint64(seed)); bad != "" {
			t.Fatalf("history %d does not show it any more: history %d does (%s), so put that into the table", known, seed, bad)
		}
	}
	t.Error("no history shows it")
}

// A modelMsg is the newest message of an id.
type modelMsg struct {
	seq, gen  int
	delivered int
	lost      bool // a holder of the message before it was
}

// A modelLife is a step in a generation.
type modelLife struct{ step, gen int }

// Ids of jobs of a workflow that are of no step.
const (
	canceller = -1
	stopper   = -10 // and less, by generation: of a failure that stops the others
)

type model struct {
	modelWorld
	weak modelRules

	graph   *Graph // as it is stored
	specSeq int
	tally   *Tally // as it is stored; nil: there is none
	tallied int    // its sequence
	queue   map[int]*modelMsg
	events  map[modelLife]State
	driver  *modelMsg
	final   map[int][]Phase // by generation
	begun   map[int]bool    // generations whose first steps somebody has released, to the last

	runs, crashes map[modelLife]int
	silent        map[int]bool // steps of which a success in the first run of the first generation leaves no event

	wrong                        string // the first thing that was seen on the way
	started, lost, grown, undone int
	late, stops                  int
}

func newModel(rnd dice, weak modelRules) *model {
	m := &model{
		modelWorld: modelWorld{rnd: rnd}, weak: weak,
		queue: make(map[int]*modelMsg), events: make(map[modelLife]State), final: make(map[int][]Phase),
		begun: make(map[int]bool), runs: make(map[modelLife]int), crashes: make(map[modelLife]int),
		silent: make(map[int]bool),
	}
	m.graph = m.randomGraph()
	for i := range m.graph.Steps {
		m.silent[i] = m.chance(.2)
	}
	return m
}

func (m *model) fail(format string, args ...any) {
	if m.wrong == "" {
		m.wrong = fmt.Sprintf(format, args...)
	}
}

// randomGraph returns a graph with steps of all kinds that matter here, in groups of conditions.
func (m *model) randomGraph() *Graph {
	s := &Spec{ID: "w", Run: "r", Gen: 1, Name: "w", FailFast: m.chance(.2)}
	n := 1 + m.rnd.IntN(7)
	for i := range n {
		step := Step{Name: fmt.Sprintf("s%d", i), Kind: KindJob, Type: "t", Optional: m.chance(.2)}
		step.After = m.randomConditions(m.rnd.Perm(i))
		switch {
		case m.chance(.15):
			step.Kind, step.Type, step.SleepMS = KindSleep, "", 1
		case m.chance(.1):
			step.Kind, step.Type, step.After = KindSignal, "", nil
		}
		s.Steps = append(s.Steps, step)
	}
	for i := range n {
		if m.chance(.3) && !s.Steps[i].waits() {
			s.Steps = append(s.Steps, Step{Name: UndoName(s.Steps[i].Name), Kind: KindJob, Type: "t", UndoOf: &i, Optional: m.chance(.2)})
		}
	}
	g, err := NewGraph(s)
	if err != nil {
		panic(err)
	}
	return g
}

// randomConditions are on up to three of the steps, some of them together.
func (m *model) randomConditions(of []int) (after []Condition) {
	of = of[:min(len(of), m.rnd.IntN(4))]
	modes := []Mode{AllSucceeded, AllSucceeded, AllSucceeded, AnySucceeded, AnySucceeded, AllEnded, OneFailed}
	for len(of) > 0 {
		n := 1 + m.rnd.IntN(len(of))
		mode := modes[m.rnd.IntN(len(modes))]
		after = append(after, Condition{Mode: mode, Of: of[:n], Early: mode == OneFailed && n > 1})
		of = of[n:]
	}
	return after
}

// run has things happen at random: at first all that can, then what a healthy system does.
func (m *model) run() {
	busy := []int{0, 20, 60, 150, 400}[m.rnd.IntN(5)]
	m.start(nobody, 1, m.create)
	defer m.stop()
	for tick := range 20_000 {
		choices := m.choices(tick < busy)
		if len(choices) == 0 {
			if m.driver == nil {
				return
			}
			if m.begun[m.driver.gen] && len(m.final[m.driver.gen]) == 0 {
				m.fail("generation %d waits for its deadline: %v", m.driver.gen, m.tally)
				return
			}
			choices = append(choices, m.fire)
		}
		choices[m.rnd.IntN(len(choices))]()
		if m.wrong != "" {
			return
		}
	}
	m.fail("does not come to an end")
}

// choices are what may happen now, as often as it is likely.
func (m *model) choices(busy bool) (all []func()) {
	add := func(n int, what func()) {
		for range n {
			all = append(all, what)
		}
	}
	if len(m.procs) > 0 {
		add(6, func() { m.goOn(&m.procs) })
	}
	if len(m.frozen) > 0 {
		add(1, func() { m.goOn(&m.frozen) })
	}
	if len(m.waiting(true)) > 0 {
		add(3, func() { m.deliver(m.waiting(true)) })
	}
	if len(m.waiting(false)) > 0 {
		add(2, func() { m.deliver(m.waiting(false)) })
	}
	if !busy {
		return all
	}
	if len(m.procs) > 0 {
		add(1, func() { m.lose(m.crash()) })
		add(1, func() { m.lose(m.freeze()) })
	}
	add(1, m.fire)
	switch {
	case !m.begun[1]:
		add(1, func() { m.start(nobody, 1, m.create) })
	case m.chance(.1):
		add(1, m.cancel)
	}
	if m.tally != nil && m.tally.Gen < 3 && len(m.final[m.tally.Gen]) > 0 {
		add(2, m.retry)
	}
	return all
}

// waiting are the ids whose message is to be delivered for the first time, or again, since nobody has it
// in hand who knows.
func (m *model) waiting(first bool) (ids []int) {
	for id, w := range m.queue {
		if first && w.delivered == 0 || !first && w.delivered > 0 && !m.holds(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (m *model) lose(p *modelProc) {
	m.lost++
	m.crashes[modelLife{p.id, p.gen}]++
}

func (m *model) deliver(ids []int) {
	id := ids[m.rnd.IntN(len(ids))]
	w := m.queue[id]
	w.delivered++
	h := &modelHolder{model: m, step: id, msg: *w}
	h.proc = m.start(id, w.gen, func(pause func()) {
		h.pause = pause
		h.settle()
	})
}

// fire has the time come at which the driver looks.
func (m *model) fire() {
	if m.driver == nil {
		return
	}
	gen := m.driver.gen
	late := m.begun[gen] && m.chance(.1)
	m.start(nobody, gen, func(pause func()) { m.drive(pause, gen, late) })
}

func (m *model) cancel() {
	if m.queue[canceller] == nil {
		m.queue[canceller] = &modelMsg{seq: m.sequence(), gen: m.tally.Gen}
	}
}

// retry publishes the driver of the next generation.
func (m *model) retry() {
	if gen := m.tally.Gen; m.driver == nil && m.final[gen][0] != PhaseSucceeded {
		m.driver = &modelMsg{seq: m.sequence(), gen: gen + 1}
	}
}

// broken says what is not as it should be, "" for nothing.
func (m *model) broken() string {
	switch {
	case m.wrong != "":
		return m.wrong
	case m.tally == nil, m.tally.Abandoned:
		if m.begun[1] || len(m.queue) > 0 {
			return "jobs of a workflow that does not exist"
		}
		return ""
	case len(m.queue) > 0:
		return fmt.Sprintf("left in the queue: %v", m.queue)
	}
	t := m.graph.Extend(m.tally)
	for gen := 1; gen <= t.Gen; gen++ {
		if len(m.final[gen]) != 1 {
			return fmt.Sprintf("generation %d of %d ended as %v: %v", gen, t.Gen, m.final[gen], t)
		}
	}
	o, ended := m.graph.Outcome(&t)
	if !ended || o.State != m.final[t.Gen][0] {
		return fmt.Sprintf("ended as %s, want %v: %v", m.final[t.Gen][0], o, t)
	}
	for i := range m.graph.Steps {
		if bad := m.brokenStep(&t, i); bad != "" {
			return bad
		}
	}
	return ""
}

func (m *model) brokenStep(t *Tally, step int) string {
	life := modelLife{step, t.Gen}
	event := m.events[life]
	switch state := t.At(step); {
	case m.runs[life] > 1+m.crashes[life]:
		return fmt.Sprintf("step %d ran %d times with %d crashes", step, m.runs[life], m.crashes[life])
	case state == Skipped && m.graph.Steps[step].waits():
		return ""
	case state == Skipped && m.runs[life] > 0:
		return fmt.Sprintf("step %d was skipped and ran", step)
	case state == Succeeded && event == Pending && m.silent[step] && m.runs[modelLife{step, 1}] > 0:
		return ""
	case state == Succeeded && event == Pending && t.Gen > 1: // of an earlier generation
		for gen := 1; gen < t.Gen; gen++ {
			if m.events[modelLife{step, gen}] == Succeeded {
				return ""
			}
		}
		return fmt.Sprintf("step %d is succeeded, and has no event", step)
	case state == Skipped && event == Pending, state == event:
		return ""
	default:
		return fmt.Sprintf("step %d is %v, its event %v", step, state, event)
	}
}
