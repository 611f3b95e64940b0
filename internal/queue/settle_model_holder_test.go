package queue

import (
	"fmt"
	"slices"

	"github.com/millhand/millhand/internal/job"
)

// A modelHolder settles one delivery by the rules.
type modelHolder struct {
	*model
	modelMsg
	worker  *modelWorker
	holder  int
	running bool   // its handler
	told    bool   // its handler, to end
	started bool   // the run in hand, or one that ended as an event says
	pause   func() // others do something meanwhile
}

func (h *modelHolder) settle() {
	if h.delivered > 1 {
		h.redelivered()
		return
	}
	switch {
	case h.ordered():
		h.drop()
		return
	case h.chance(.1):
		h.finish("") // handed back unstarted
		return
	case h.first && h.chance(.05):
		h.finish(job.EventDead) // expired
		return
	}
	h.run()
	if h.told {
		h.endTold()
		return
	}
	switch x := h.rnd.Float64(); {
	case x < .3 && h.silent && h.known == 0:
		h.excused[h.life], h.timed[h.life].ran = true, true // it ends, and nothing says so
		h.effect(job.EventSucceeded)
	case x < .5:
		h.finish(job.EventSucceeded)
	case x < .55:
		h.finish(job.EventCancelled)
	case x < .85 && h.attempt < h.maxRuns:
		h.finish(job.EventRetrying)
	case x < .85:
		h.finish(job.EventDead)
	default:
		h.finish(job.EventHandedBack)
	}
}

// run is the handler. That it starts is the last step of a look at the orders.
func (h *modelHolder) run() {
	h.runs++
	h.started, h.timed[h.life].mayRun = true, true
	if h.cancelled[h.life] && !h.worker.cut && !h.excused[h.life] && !h.forgotten[h.life] {
		h.model.started = append(h.model.started, fmt.Sprintf("life %d started after it was cancelled", h.life))
	}
	h.running = true
	for range h.rnd.IntN(4) {
		h.pause()
	}
	h.running = false
}

func (h *modelHolder) finish(kind job.EventKind) {
	if kind != "" && !h.writeEvent(kind) {
		return // taken
	}
	h.effect(kind)
}

func (h *modelHolder) effect(kind job.EventKind) {
	if h.weak.unordered {
		h.ack()
	}
	switch kind {
	case job.EventDead:
		h.pause()
		h.records[h.life] = true
	case job.EventSucceeded, job.EventCancelled:
	case job.EventRetrying, job.EventSnoozed, job.EventHandedBack, job.EventLost, "":
		h.requeue(kind)
	}
	if h.weak.heldLate {
		h.ack()
	}
	h.holdID(kind, h.started || h.ran)
	h.ack()
}

func (h *modelHolder) ack() {
	h.pause()
	delete(h.msgs, h.seq) // by its sequence, whatever is there
}

func (h *modelHolder) writeEvent(kind job.EventKind) bool {
	e := modelEvent{msg: h.seq, id: h.id, life: h.life, kind: kind, holder: h.holder, started: h.started || h.ran}
	for {
		h.pause()
		if seq := h.append(e, h.known); seq > 0 && !h.chance(.05) { // else its confirmation is lost
			h.known = seq
			return true
		}
		h.pause()
		last := h.last(h.id)
		own, newer := h.ownEvent(last)
		switch {
		case own != nil && own.holder == h.holder && own.kind == kind && own.msg == h.seq:
			h.known = own.seq
			return true
		case own != nil:
			return false
		}
		e.overtaken = e.overtaken || newer
		h.known = last.seq
	}
}

func (h *modelHolder) ownEvent(last modelEvent) (own *modelEvent, newer bool) {
	for _, e := range h.mattering(last) {
		switch {
		case e.life != h.life:
			newer = newer || e.msg > h.seq
		case own != nil && own.kind.Final():
		case h.news(e, last):
			own = &e
		}
	}
	return own, newer
}

func (h *modelHolder) news(e, last modelEvent) bool {
	switch {
	case h.weak.behind:
		return e.seq > h.known
	case h.known > last.seq:
		return e.kind.Final() || e.msg >= h.seq
	}
	return e.kind.Final() || e.seq > h.known
}

func (h *modelHolder) mattering(last modelEvent) []modelEvent {
	switch {
	case last.seq == 0:
		return nil
	case last.life == h.life:
		return []modelEvent{last}
	case (h.first || h.weak.successors) && (last.msg < h.seq || h.weak.anySeq) && last.kind.Final() && !last.overtaken:
		return nil
	}
	h.pause()
	return h.history(h.id)
}

func (h *modelHolder) requeue(kind job.EventKind) {
	w := h.modelMsg
	w.first = false
	w.ready = kind != job.EventRetrying
	w.ran = h.ran || h.started || kind == job.EventLost
	if kind == job.EventLost {
		w.crashes++
	}
	if !w.ready {
		w.attempt++
		h.replaceOlder()
	}
	w.known = h.known
	expected := h.seq
	for {
		h.pause()
		if h.publish(w, expected) && !h.chance(.05) {
			return
		}
		h.pause()
		newest := h.newest(h.id)
		if newest == nil {
			h.pause()
			if own, _ := h.ownEvent(h.last(h.id)); own != nil {
				return
			}
			expected = 0
			continue
		}
		seq, life := newest.seq, newest.life
		switch {
		case life == h.life && seq == h.seq && !h.weak.ownMessage:
			expected = h.seq
		case life == h.life:
			return
		default:
			h.superseded()
			return
		}
	}
}

func (h *modelHolder) replaceOlder() {
	h.pause()
	for _, w := range h.msgs {
		if w.id == h.id && !w.ready && !w.hold && w.life != h.life && w.seq <= h.seq {
			older := &modelHolder{model: h.model, modelMsg: *w, holder: h.holder, pause: h.pause}
			older.superseded()
			return
		}
	}
}

// superseded ends a life behind whatever other lives say.
func (h *modelHolder) superseded() {
	for {
		h.pause()
		history := h.history(h.id)
		h.known = 0
		for _, e := range history {
			if e.life == h.life && e.kind.Final() {
				if e.kind == job.EventDead && !h.weak.unburied {
					h.pause()
					h.records[h.life] = true
				}
				return
			}
			h.known = e.seq
		}
		h.pause()
		e := modelEvent{msg: h.seq, id: h.id, life: h.life, kind: job.EventCancelled, holder: h.holder, overtaken: true}
		if h.append(e, h.known) > 0 && !h.chance(.05) {
			return
		}
	}
}

func (h *modelHolder) redelivered() {
	h.timed[h.life].mayRun = true // whoever had it may have started it
	h.pause()
	last := h.last(h.id)
	for _, e := range h.mattering(last) {
		if e.life == h.life && e.kind.Final() {
			h.started = e.started
			h.effect(e.kind)
			return
		}
	}
	h.pause()
	newest := h.newest(h.id)
	switch {
	case newest == nil, newest.seq != h.seq && newest.life == h.life:
		h.ack()
		return
	case newest.seq != h.seq:
		h.superseded()
		h.ack()
		return
	}
	h.known = last.seq
	if h.crashes >= 3 {
		h.finish(job.EventDead)
		return
	}
	h.finish(job.EventLost)
}

// broken says which lives did not end as they should.
func (m *model) broken() (bad []string) {
	bad = append(bad, m.wrong...)
	if len(m.msgs) > 0 || len(m.procs) > 0 {
		bad = append(bad, fmt.Sprintf("%d messages are left, %d at work", len(m.msgs), len(m.procs)))
	}
	if m.ordered() {
		bad = append(bad, "an order to cancel is left")
	}
	bad = append(bad, m.started...)
	for _, p := range m.procs {
		p.stop()
	}
	ends := make(map[int]int)
	for _, events := range append(slices.Clone(m.earlier), m.events) {
		for life, n := range m.ends(events, &bad) {
			ends[life] += n
		}
	}
	for _, e := range m.events {
		if e.kind == job.EventDead && !m.records[e.life] && !m.excused[e.life] && !m.forgotten[e.life] {
			bad = append(bad, fmt.Sprintf("life %d has no dead record", e.life))
		}
	}
	for life, begun := range m.lives {
		switch {
		case begun > 1:
			bad = append(bad, fmt.Sprintf("%d lives have one name", begun))
		case ends[life] == 0 && !m.excused[life]:
			bad = append(bad, fmt.Sprintf("life %d has no end", life))
		}
	}
	return bad
}

// ends counts the ends of each life in one stream of events.
func (m *model) ends(events []modelEvent, bad *[]string) map[int]int {
	ends := make(map[int]int)
	for _, e := range events {
		if ends[e.life] > 0 {
			*bad = append(*bad, fmt.Sprintf("life %d goes on after its end: %s of message %d", e.life, e.kind, e.msg))
		}
		if e.kind.Final() {
			ends[e.life]++
		}
	}
	return ends
}
