package queue

import "slices"

// What the broker of the settle model does and keeps.

// comeNear has the time of a message come near.
func (m *model) comeNear() {
	if w := m.pick(func(w *modelMsg) bool { return !w.ready && !w.near && !w.hold }); w != nil {
		w.near = true
	}
}

// collect has the broker take a message that is due, to fire it a moment later. Where publishers skip
// the check it does both at once: what it has collected takes the schedule of a newer life with it.
func (m *model) collect() {
	w := m.pick(func(w *modelMsg) bool { return (w.near || !m.checked && !w.ready && !w.hold) && !m.collected(w) })
	if w == nil {
		return
	}
	m.firing = append(m.firing, *w)
	if !m.checked {
		m.fire()
	}
}

func (m *model) collected(w *modelMsg) bool {
	return slices.ContainsFunc(m.firing, func(f modelMsg) bool { return f.seq == w.seq })
}

// fire makes a message ready that was collected. With it goes whatever waits under its id.
func (m *model) fire() {
	if len(m.firing) == 0 {
		return
	}
	w := m.firing[0]
	m.firing = m.firing[1:]
	for seq, o := range m.msgs {
		if o.id == w.id && !o.ready && !o.hold {
			delete(m.msgs, seq)
		}
	}
	m.msgSeq++
	w.seq, w.ready, w.near = m.msgSeq, true, false
	m.msgs[w.seq] = &w
}

// expire ends the lease of a message, nil if none is held. Its holder does not know.
func (m *model) expire() *modelMsg {
	w := m.pick(func(w *modelMsg) bool { return w.held })
	if w != nil {
		w.held = false
	}
	return w
}

// forgetDelivery is expire, and the broker forgets that it had delivered the message.
func (m *model) forgetDelivery() {
	if w := m.expire(); w != nil {
		w.delivered = 0
	}
}

func (m *model) enqueue(id int, checked bool) {
	if checked && m.newest(id) != nil {
		return
	}
	m.msgSeq++
	w := &modelMsg{seq: m.msgSeq, id: id, attempt: 1, maxRuns: 1 + m.rnd.IntN(3), ready: true, first: true}
	if checked {
		m.nextLife--
		w.life = m.nextLife
	} else {
		w.life = int(w.seq) // a plain publish: it has no other name
		if m.chance(.2) {
			w.known = m.eventSeq + 50 // its publisher makes that up
		}
	}
	if m.chance(.5) {
		w.until = m.now + m.rnd.IntN(30)
	}
	w.silent = m.chance(.2)
	m.lives[w.life]++
	m.accepted(w)
	m.msgs[w.seq] = w
}

// loseQueue loses a queue's stream with all in it; it is made again.
func (m *model) loseQueue() {
	for _, w := range m.msgs {
		m.excused[w.life] = true
	}
	for _, w := range m.firing {
		m.excused[w.life] = true
	}
	clear(m.msgs)
	m.firing = nil
	if m.weak.restart {
		m.msgSeq = 0
	} else {
		m.msgSeq += 100
	}
}

// loseEvents loses what is known of the lives so far: also that they had ended.
func (m *model) loseEvents() {
	for life := range m.lives {
		m.forgotten[life] = true
	}
	m.earlier = append(m.earlier, m.events)
	m.events = nil
	if m.weak.restart {
		m.eventSeq = 0
	} else {
		m.eventSeq += 100
	}
}

func (m *model) newest(id int) (newest *modelMsg) {
	for _, w := range m.msgs {
		if w.id == id && (newest == nil || w.seq > newest.seq) {
			newest = w
		}
	}
	return newest
}

func (m *model) history(id int) (all []modelEvent) {
	for _, e := range m.events {
		if e.id == id {
			all = append(all, e)
		}
	}
	return all
}

func (m *model) last(id int) (last modelEvent) {
	for _, e := range m.events {
		if e.id == id {
			last = e
		}
	}
	return last
}

// append stores e if the last event of its id is the one expected. It returns its sequence.
func (m *model) append(e modelEvent, expected uint64) uint64 {
	if m.last(e.id).seq != expected {
		return 0
	}
	m.eventSeq++
	e.seq = m.eventSeq
	m.events = append(m.events, e)
	m.timed[e.life].ran = m.timed[e.life].ran || e.kind.Final() && e.started
	return e.seq
}

// publish stores w, a successor, if the newest message of its id is the one expected.
func (m *model) publish(w modelMsg, expected uint64) bool {
	var newest uint64
	if n := m.newest(w.id); n != nil {
		newest = n.seq
	}
	if newest != expected {
		return false
	}
	if !w.ready { // there is one schedule per id, and one hold
		for seq, o := range m.msgs {
			if o.id == w.id && !o.ready && o.hold == w.hold {
				delete(m.msgs, seq)
			}
		}
	}
	m.msgSeq++
	w.seq, w.held, w.near, w.delivered = m.msgSeq, false, false, 0
	m.msgs[w.seq] = &w
	if w.hold {
		m.stored(&w)
	}
	return true
}
