package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
)

// A keptLife is what a history expects of the newest life of an id.
type keptLife struct {
	*job.Record
	alive bool
	kept  bool // it has ended, and its id stays taken until its time
}

// A history is what happens to some ids, at random: jobs are enqueued, run, fail, are handed back and
// cancelled, workers crash between any two writes, time passes and ids are freed.
type history struct {
	*scene
	rnd   *rand.Rand
	node  *node
	nodes int // that have crashed
	lives map[string]*keptLife
	begun map[string]bool // lives that were accepted
}

const (
	historyIDs   = 50
	historySteps = 250
)

// However they come, no id has two living jobs, it is taken for as long as its last life asked for,
// if that may have done something, and it is free a moment later.
func TestHistoriesOfIDs(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			inScene(t, func(_ *testing.T, s *scene) {
				h := &history{
					scene: s, rnd: rand.New(rand.NewPCG(seed, 1)), node: s.node("n"),
					lives: make(map[string]*keptLife), begun: make(map[string]bool),
				}
				for range historySteps {
					h.step()
				}
				h.end()
			})
		})
	}
}

func (h *history) step() {
	id := strconv.Itoa(h.rnd.IntN(historyIDs))
	switch x := h.rnd.IntN(100); {
	case x < 45:
		h.enqueueSome(id)
	case x < 85:
		h.runOne()
	case x < 92:
		h.release(id)
	default:
		h.sleep(time.Duration(h.rnd.IntN(90)) * time.Second)
	}
}

func (h *history) enqueueSome(id string) {
	h.t.Helper()
	r := h.record(id)
	if h.rnd.IntN(3) > 0 {
		r.UniqueUntil = time.Now().Add(time.Duration(1+h.rnd.IntN(600)) * time.Second)
	}
	err := h.scene.store.Enqueue(h.ctx, enqueueOf(r, true, 0))
	duplicate, refused := errors.AsType[*DuplicateError](err)
	before := h.lives[id]
	switch {
	case err != nil && !refused:
		h.t.Fatalf("enqueue %s: %v", id, err)
	case before == nil || !before.taken():
		if refused && (before == nil || !before.kept || time.Since(before.UniqueUntil) > 250*time.Millisecond) {
			h.t.Errorf("%s is free and was refused: %v", id, err)
		}
	case !refused:
		h.t.Errorf("%s was taken by %s (alive: %t) and was stored", id, before.Life, before.alive)
	case duplicate.Life != before.Life, duplicate.Until.IsZero() != before.alive:
		h.t.Errorf("%s was refused because of %s until %v, want %s, alive: %t", id, duplicate.Life, duplicate.Until, before.Life, before.alive)
	}
	if err == nil {
		h.lives[id] = &keptLife{Record: r, alive: true}
		h.begun[r.Life] = true
	}
}

func (l *keptLife) taken() bool {
	return l.alive || l.kept && time.Now().Before(l.UniqueUntil)
}

// runOne runs whatever job comes, if any, with a worker that may crash on the way.
func (h *history) runOne() {
	d := h.node.tryPull(time.Millisecond, testWait)
	if d == nil {
		return
	}
	if d.Delivered > 1 {
		h.t.Fatalf("%s was delivered again", d.ID)
	}
	o, started := h.outcome(d)
	if started {
		d.start()
	}
	crashes := h.rnd.IntN(3) == 0
	if crashes {
		h.node.crashAt(1+h.rnd.IntN(4), []natstest.Fate{natstest.CutBefore, natstest.CutAfter}[h.rnd.IntN(2)])
	}
	h.node.settler.Settle(d, o)
	h.sleep(time.Second)
	if crashes {
		h.node.crash()
		h.nodes++
		h.node = h.scene.node(fmt.Sprintf("n%d", h.nodes))
		h.sleep(testWait)
		h.recover()
		h.sleep(time.Second)
	}
	h.learn(d)
}

// recover settles what was lost, and hands back what came with it.
func (h *history) recover() {
	h.t.Helper()
	var came []*Delivery
	for d := h.node.tryPull(time.Millisecond, testWait); d != nil; d = h.node.tryPull(time.Millisecond, testWait) {
		came = append(came, d)
	}
	for _, d := range came {
		var err error
		if d.Delivered > 1 {
			err = h.node.redelivered(d)
		} else {
			err = h.node.settle(d, Outcome{})
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *history) outcome(d *Delivery) (o Outcome, started bool) {
	switch h.rnd.IntN(8) {
	case 0:
		return Outcome{}, false // handed back
	case 1:
		return Outcome{Kind: job.EventCancelled}, false
	case 2:
		if !d.HasStarted() {
			return Outcome{Kind: job.EventDead, Reason: job.ReasonExpired}, false
		}
	case 3:
		return Outcome{Kind: job.EventRetrying, Error: "boom"}, true
	case 4:
		return Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: "boom"}, true
	case 5:
		return Outcome{Kind: job.EventSucceeded, Silent: true}, true
	}
	return Outcome{Kind: job.EventSucceeded}, true
}

// learn takes from the queue whether a life has ended, and from its events whether it may have done
// something.
func (h *history) learn(d *Delivery) {
	h.t.Helper()
	l := h.lives[d.ID]
	m, err := h.scene.store.Find(h.ctx, d.place)
	if err == nil && m.Life == l.Life {
		return
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		h.t.Fatal(err)
	}
	l.alive, l.kept = false, l.UniqueUntil.After(time.Now())
	for _, e := range h.events()[l.Life] {
		if e.Kind.Final() && e.Kind != job.EventSucceeded {
			l.kept = l.kept && e.Reason != job.ReasonExpired && (!e.StartedAt.IsZero() || d.HasStarted())
		}
	}
}

func (h *history) release(id string) {
	h.t.Helper()
	l := h.lives[id]
	err := h.scene.store.Release(h.ctx, testPlace(id), "")
	held := l != nil && !l.alive && l.kept
	switch {
	case held && l.taken() && err != nil, !held && !errors.Is(err, ErrNotFound), err != nil && !errors.Is(err, ErrNotFound):
		h.t.Errorf("release of %s, held: %t: %v", id, held, err)
	}
	if held {
		l.kept = false
	}
}

// end has all that is left run, and all periods pass.
func (h *history) end() {
	h.t.Helper()
	for _, m := range h.all(h.scene.store.names.queueStream(queueName())) {
		if hold := holdOf(m); h.scene.store.names.isHold(m.Subject) && !h.begun[hold.Life] {
			h.t.Errorf("%s is held by %q, which was never enqueued", m.Subject, hold.Life)
		}
	}
	h.node.finishAll(Outcome{Kind: job.EventSucceeded})
	h.sleep(20 * time.Minute)
	spent := 0
	for _, m := range h.all(h.scene.store.names.queueStream(queueName())) {
		switch {
		case h.scene.store.names.isHold(m.Subject):
			h.t.Errorf("%s is held until %v", m.Subject, holdOf(m).Until)
		case strings.HasSuffix(m.Subject, ".spent"):
			spent++
		}
	}
	if spent > 1 {
		h.t.Errorf("%d spent holds are left", spent)
	}
	for id := range h.lives {
		h.checkFree(id)
	}
}
