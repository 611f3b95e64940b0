package queue

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/modeltest"
)

// A trackerModel is a tracker with everybody who works on what it hands over.
type trackerModel struct {
	*tracker
	now      time.Time
	writes   []*settlement // whose events were published: an answer may come, and come again
	answered []*settlement // that an answer has claimed
	slow     []*settlement // that have a goroutine
	looking  []*settlement // that somebody looks at
	over     []*settlement
	handed   int
}

func newTrackerModel() *trackerModel {
	return &trackerModel{tracker: newTracker(), now: time.Now()}
}

func (m *trackerModel) handOver(t *rapid.T) {
	m.handed++
	m.add(new(settlement), rapid.SampledFrom([]settleState{queuedFast, queuedSlow, queuedLook}).Draw(t, "path"))
}

// run is a turn of [Settler.Run].
func (m *trackerModel) run(*rapid.T) {
	select {
	case <-m.wake:
	default:
	}
	publish, _, start := m.take()
	for _, s := range publish {
		s.sent = m.now
	}
	m.writes = append(m.writes, publish...)
	m.slow = append(m.slow, start...)
	m.looking = append(m.looking, m.takeUnlooked()...)
}

func (m *trackerModel) look(t *rapid.T) {
	if len(m.looking) == 0 {
		t.Skip("nobody looks")
	}
	m.looked(m.looking)
	m.looking = nil
}

// answer is the broker's, to some writes: also to those that were given up.
func (m *trackerModel) answer(t *rapid.T) {
	if len(m.writes) == 0 {
		t.Skip("nothing is published")
	}
	from := rapid.IntRange(0, len(m.writes)-1).Draw(t, "from")
	to := rapid.IntRange(from+1, len(m.writes)).Draw(t, "to")
	m.answered = append(m.answered, m.claim(slices.Clone(m.writes[from:to]))...)
}

func (m *trackerModel) acknowledge(t *rapid.T) { m.end(m.pop(t, &m.answered)) }

func (m *trackerModel) giveUpAnswered(t *rapid.T) {
	m.toSlowPath([]*settlement{m.pop(t, &m.answered)})
}

func (m *trackerModel) writeAgain(t *rapid.T) { m.again(m.pop(t, &m.answered)) }

func (m *trackerModel) finishSlow(t *rapid.T) { m.end(m.pop(t, &m.slow)) }

func (m *trackerModel) passTime(*rapid.T) {
	m.now = m.now.Add(time.Second)
	m.claimOverdue(m.now.Add(-2 * time.Second))
}

// restartRun ends Run, with all goroutines that it waits for, and starts it again.
func (m *trackerModel) restartRun(t *rapid.T) {
	m.slow, m.looking = nil, nil
	m.restart()
	m.run(t)
}

func (m *trackerModel) end(s *settlement) {
	m.settled(s)
	m.over = append(m.over, s)
}

// pop takes one of those.
func (m *trackerModel) pop(t *rapid.T, from *[]*settlement) *settlement {
	if len(*from) == 0 {
		t.Skip("nobody has one")
	}
	i := rapid.IntRange(0, len(*from)-1).Draw(t, "which")
	s := (*from)[i]
	*from = slices.Delete(*from, i, i+1)
	return s
}

// check fails the test unless each settlement has one owner, which its state names.
func (m *trackerModel) check(t *rapid.T) {
	owners := make(map[*settlement]string)
	own := func(who string, has []*settlement, states ...settleState) {
		for _, s := range has {
			if before, owned := owners[s]; owned {
				t.Fatalf("a settlement in state %d has two owners: %s and %s", s.state, before, who)
			}
			if owners[s] = who; !slices.Contains(states, s.state) {
				t.Fatalf("%s has a settlement in state %d", who, s.state)
			}
		}
	}
	own("the queue", m.queue, queuedFast, queuedSlow, queuedLook)
	own("those that wait for a look", m.unlooked, queuedLook)
	own("a looker", m.looking, looking)
	own("an answer", m.answered, answered)
	own("a goroutine", m.slow, slow)
	own("nobody", m.over, settled)
	onFastPath := 0
	for s := range m.open {
		if s.state == inFlight {
			own("the broker", []*settlement{s}, inFlight)
		}
		if s.state.fast() {
			onFastPath++
		}
	}
	switch {
	case len(owners) != m.handed || len(m.open) != m.handed-len(m.over):
		t.Fatalf("of %d settlements %d have an owner, %d are over and %d open", m.handed, len(owners), len(m.over), len(m.open))
	case onFastPath != m.onFastPath:
		t.Fatalf("%d are on the fast path, and %d are counted", onFastPath, m.onFastPath)
	case m.idle() && len(m.open) > len(m.slow):
		t.Fatalf("it is idle, with %d open and %d of them slow", len(m.open), len(m.slow))
	case len(m.queue) > 0 && len(m.wake) == 0:
		t.Fatalf("%d are queued, and nobody wakes Run", len(m.queue))
	}
}

// Whatever comes in whichever order, each settlement has one owner until it is over, also if its
// answer comes late or again, and what is queued is taken.
func TestEachSettlementHasOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newTrackerModel()
		steps := make(modeltest.Steps)
		steps.Add("hand over", 4, m.handOver)
		steps.Add("run", 4, m.run)
		steps.Add("answer", 3, m.answer)
		steps.Add("acknowledge", 3, m.acknowledge)
		steps.Add("give up an answered one", 1, m.giveUpAnswered)
		steps.Add("write another one", 1, m.writeAgain)
		steps.Add("finish a slow one", 2, m.finishSlow)
		steps.Add("look", 3, m.look)
		steps.Add("pass time", 2, m.passTime)
		steps.Add("restart", 1, m.restartRun)
		steps.Check(m.check)
		t.Repeat(steps)
	})
}

// A settler that drains learns when its fast path is empty.
func TestDrainIsWokenByTheLastOne(t *testing.T) {
	k := newTracker()
	a, b := new(settlement), new(settlement)
	k.add(a, queuedFast)
	k.add(b, queuedFast)
	<-k.wake
	ts, _, _ := k.take()
	k.drain()
	for i, s := range k.claim(slices.Clone(ts)) {
		k.settled(s)
		if last := i == 1; len(k.wake) == 1 != last || k.idle() != last {
			t.Errorf("after %d of 2: woken %t, idle %t", i+1, len(k.wake) == 1, k.idle())
		}
	}
}
