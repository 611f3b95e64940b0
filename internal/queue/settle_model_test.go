package queue

import (
	"errors"
	"flag"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millhand/millhand/internal/job"
)

var modelHistories = flag.Int("settle-histories", 0, "histories of the settle model; 0: a number that takes a second")

// modelRules are what a settler goes by. Each field takes one rule away.
type modelRules struct {
	ownMessage bool // whoever is refused and finds a message of its life takes it for a successor, also its own
	anySeq     bool // the last event of another life is the end of an older one, whichever message it speaks of
	successors bool // so it is for a successor, if it speaks of a message before that
	behind     bool // what stands at or before the last event known says nothing, also the end of the life
	restart    bool // a stream that is made again counts from 1
	unburied   bool // whoever is superseded, and finds that its life has ended, asks for no dead record
	unordered  bool // the ack comes before the effect

	unchecked   bool // a worker starts jobs without a look at the orders to cancel
	answerFirst bool // it answers whoever cancels before it has noted the order
	unread      bool // it starts jobs before it has read the orders that were written while it was cut off
	deleteFirst bool // whoever cancels deletes the message before the event is stored
	oneLook     bool // and does not look again for what came in its place
	unguarded   bool // and takes it that a schedule which was far from due has not fired
	dismissed   bool // and removes the order as soon as it is carried out
	forgetful   bool // and removes it once the handler is told
	unclaimed   bool // nobody carries out the order of one who died

	heldLate      bool // an id is held after the ack of its job
	heldBlindly   bool // it is held whatever has come meanwhile
	heldUnstarted bool // so it is by a job that never started
	halfReleased  bool // whoever frees an id leaves the message of its job to others
}

// The settle model is the rules of this package's settlements against an abstract broker, in
// random histories: workers that never look at their lease, crash between any two steps and
// lose confirmations, ids that are used again, with and without the check for a living id,
// deliveries that the broker forgets, and streams that are lost and made again.
//
// Afterwards each life has ended once, nothing is left, and each dead one has its record. What
// was in a lost stream is excused from having an end, not from having only one.
func TestSettleModel(t *testing.T) {
	histories := *modelHistories
	if histories == 0 {
		histories = 5_000
		if testing.Short() {
			histories = 1_000
		}
	}
	runs := 0
	for seed := range histories {
		m := newModel(uint64(seed), modelRules{})
		m.run()
		runs += m.runs
		if bad := m.broken(); len(bad) > 0 {
			t.Fatalf("history %d: %v", seed, bad)
		}
	}
	if runs < histories {
		t.Errorf("only %d runs of jobs in %d histories", runs, histories)
	}
}

// The model finds what each rule is for. The first history that shows it is known, since a search takes
// long; a change of the model makes it another one.
func TestSettleModelFindsWhatIsMissing(t *testing.T) {
	for name, weak := range map[string]struct {
		rules modelRules
		seed  int
	}{
		"own message taken for a successor": {modelRules{ownMessage: true}, 1221},
		"sequences not compared":            {modelRules{anySeq: true}, 82},
		"not compared for a successor":      {modelRules{successors: true}, 1675},
		"an end before the last known":      {modelRules{behind: true}, 7},
		"streams that count again":          {modelRules{restart: true}, 5},
		"dead record of another's end":      {modelRules{unburied: true}, 37705},
		"ack before effect":                 {modelRules{unordered: true}, 0},

		"orders not looked at":          {modelRules{unchecked: true}, 90},
		"an answer before the note":     {modelRules{answerFirst: true}, 182},
		"orders not read after a cut":   {modelRules{unread: true}, 12631},
		"message deleted before event":  {modelRules{deleteFirst: true}, 17},
		"no second look":                {modelRules{oneLook: true}, 4526},
		"a schedule fired all the same": {modelRules{unguarded: true}, 951},
		"order removed, job in hand":    {modelRules{dismissed: true}, 90},
		"order removed, handler told":   {modelRules{forgetful: true}, 2434},
		"order of one who died, left":   {modelRules{unclaimed: true}, 10},

		"id held after the ack":         {modelRules{heldLate: true}, 0},
		"id held without a condition":   {modelRules{heldBlindly: true}, 3},
		"id held by what never started": {modelRules{heldUnstarted: true}, 2},
		"message left by a release":     {modelRules{halfReleased: true}, 378},
	} {
		t.Run(name, func(t *testing.T) {
			shows := func(seed int) bool {
				m := newModel(uint64(seed), weak.rules)
				m.run()
				return len(m.broken()) > 0
			}
			if shows(weak.seed) {
				return
			}
			for seed := range 100_000 {
				if shows(seed) {
					t.Fatalf("history %d does not show it any more: history %d does, so put that into the table", weak.seed, seed)
				}
			}
			t.Error("no history shows it")
		})
	}
}

type modelMsg struct {
	seq, known                uint64
	id, life                  int
	attempt, crashes, maxRuns int
	ready, held, first        bool
	near                      bool // about to be due: the broker may collect it for firing
	delivered                 int

	until  int  // the id stays taken
	hold   bool // it is no job: it keeps the id
	ran    bool // a run of it has started
	silent bool // a success at once leaves no event
}

type modelEvent struct {
	seq, msg  uint64 // its own sequence, and that of the message it speaks of
	id, life  int
	kind      job.EventKind
	holder    int
	overtaken bool
	started   bool // the run that ended
}

type model struct {
	rnd     *rand.Rand
	weak    modelRules
	checked bool // nobody skips the check for a living id

	msgSeq, eventSeq uint64
	msgs             map[uint64]*modelMsg
	events           []modelEvent
	earlier          [][]modelEvent // of event streams that were lost
	records          map[int]bool   // by life
	lives            map[int]int    // to how often a life of that name was begun
	excused          map[int]bool   // it was in a queue stream that was lost
	forgotten        map[int]bool   // it began before a stream of events was lost
	nextLife         int
	holders          int
	runs             int
	procs            []*modelProc
	firing           []modelMsg // schedules that the broker has collected: they fire, whatever becomes of them

	workers   []*modelWorker
	holding   map[*modelHolder]bool // those whose end is not written
	orders    map[int]*modelOrder   // by id
	cancelled map[int]bool          // by life: whoever cancelled it was told so
	started   []string              // what started all the same

	now   int
	timed map[int]*modelLife
	wrong []string // what was seen on the way
}

// A modelProc is one worker, or one order to cancel, at one job: it goes on a step at a time.
type modelProc struct {
	next func() (struct{}, bool)
	stop func()
}

func newModel(seed uint64, weak modelRules) *model {
	m := &model{
		rnd: rand.New(rand.NewPCG(seed, 1)), weak: weak, msgs: make(map[uint64]*modelMsg),
		records: make(map[int]bool), lives: make(map[int]int), excused: make(map[int]bool), forgotten: make(map[int]bool),
		timed: make(map[int]*modelLife),
	}
	m.checked = m.rnd.IntN(2) == 0
	m.holding, m.orders, m.cancelled = make(map[*modelHolder]bool), make(map[int]*modelOrder), make(map[int]bool)
	for range modelWorkers {
		m.workers = append(m.workers, &modelWorker{knows: make(map[int]bool)})
	}
	return m
}

const (
	modelIDs     = 2
	modelWorkers = 3
)

func (m *model) chance(p float64) bool { return m.rnd.Float64() < p }

func (m *model) run() {
	busy, quiet := m.busySteps(), m.quietSteps()
	for range 250 {
		m.step(busy)
	}
	for range 20_000 {
		if len(m.procs) == 0 && len(m.msgs) == 0 && len(m.firing) == 0 && !m.ordered() {
			return
		}
		m.step(quiet)
	}
}

// A modelStep is something that may happen, as often as its weight says.
type modelStep struct {
	weight int
	do     func()
}

// busySteps are all that can happen.
func (m *model) busySteps() []modelStep {
	return append(m.work(),
		modelStep{32, func() { m.expire() }},
		modelStep{8, m.forgetDelivery},
		modelStep{60, func() { m.enqueue(m.rnd.IntN(modelIDs), m.checked || m.chance(.6)) }},
		modelStep{15, func() { m.cancel(m.rnd.IntN(modelIDs)) }},
		modelStep{15, m.crash},
		modelStep{15, m.release},
		modelStep{5, m.loseQueue},
		modelStep{5, m.loseEvents},
	)
}

// quietSteps are what a healthy system does: leases end of those who crashed, and of nobody else.
func (m *model) quietSteps() []modelStep {
	return append(m.work(), modelStep{40, func() {
		if len(m.procs) == 0 {
			m.expire()
		}
	}})
}

func (m *model) work() []modelStep {
	steps := []modelStep{{710, m.proceed}, {100, m.deliver}, {50, m.collect}, {50, m.pass}, {25, m.free}}
	if m.checked {
		steps = append(steps, m.orderSteps()...)
	}
	return steps
}

func (m *model) step(steps []modelStep) {
	sum := 0
	for _, s := range steps {
		sum += s.weight
	}
	at := m.rnd.IntN(sum)
	for _, s := range steps {
		if at -= s.weight; at < 0 {
			s.do()
			return
		}
	}
}

// proceed lets one worker, or order to cancel, do its next step.
func (m *model) proceed() {
	if i := m.anyProc(); i >= 0 {
		if _, more := m.procs[i].next(); !more {
			m.procs = slices.Delete(m.procs, i, i+1)
		}
	}
}

func (m *model) crash() {
	if i := m.anyProc(); i >= 0 {
		m.procs[i].stop()
		m.procs = slices.Delete(m.procs, i, i+1)
	}
}

func (m *model) anyProc() int {
	if len(m.procs) == 0 {
		return -1
	}
	return m.rnd.IntN(len(m.procs))
}

func (m *model) start(steps iter.Seq[struct{}]) {
	next, stop := iter.Pull(steps)
	m.procs = append(m.procs, &modelProc{next: next, stop: stop})
}

// pick returns one of those messages, nil if there is none.
func (m *model) pick(which func(*modelMsg) bool) *modelMsg {
	var seqs []uint64
	for seq, w := range m.msgs {
		if which(w) {
			seqs = append(seqs, seq)
		}
	}
	if len(seqs) == 0 {
		return nil
	}
	slices.Sort(seqs)
	return m.msgs[seqs[m.rnd.IntN(len(seqs))]]
}

func (m *model) deliver() {
	w := m.pick(func(w *modelMsg) bool { return w.ready && !w.held })
	worker := m.workers[m.rnd.IntN(len(m.workers))]
	if w == nil || worker.cut {
		return
	}
	w.held = true
	w.delivered++
	m.holders++
	h := &modelHolder{model: m, modelMsg: *w, worker: worker, holder: m.holders}
	m.holding[h] = true
	m.startProc(func(pause func()) {
		defer delete(m.holding, h)
		h.pause = pause
		h.settle()
	})
}

// startProc runs steps, between which others do something.
func (m *model) startProc(steps func(pause func())) {
	m.start(func(yield func(struct{}) bool) {
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
}

var errModelCrash = errors.New("the worker crashed")
