package queue

import (
	"fmt"

	"github.com/millhand/millhand/internal/job"
)

// A modelLife is what is known of a life that has an id for a time.
type modelLife struct {
	id       int
	until    int  // the id is taken until then, if it has run
	ran      bool // by what was written of its end
	mayRun   bool // for all that anybody knows
	released bool // somebody freed its id
	fires    bool // a copy of it may fire yet, which holds the id again: it was cancelled while it waited
}

// pass lets time pass. What is held until then is free a moment later.
func (m *model) pass() { m.now++ }

// free has the broker remove a hold whose time has come.
func (m *model) free() {
	if w := m.pick(func(w *modelMsg) bool { return w.hold && w.until <= m.now }); w != nil {
		delete(m.msgs, w.seq)
	}
}

// accepted notes a life that begins, and whether it does while its id is taken.
func (m *model) accepted(w *modelMsg) {
	for life, l := range m.timed {
		if l.id == w.id && l.until > m.now && l.ran && !l.released && m.checked && !m.excused[life] && !m.forgotten[life] {
			m.wrong = append(m.wrong, fmt.Sprintf("life %d began while life %d had the id", w.life, life))
		}
	}
	m.timed[w.life] = &modelLife{id: w.id, until: w.until}
}

// stored notes a hold.
func (m *model) stored(w *modelMsg) {
	switch l := m.timed[w.life]; {
	case !l.ran && !l.mayRun:
		m.wrong = append(m.wrong, fmt.Sprintf("life %d never ran, and its id is held", w.life))
	case l.released && !l.fires && !m.forgotten[w.life] && !m.excused[w.life]: // else it may have gone on
		m.wrong = append(m.wrong, fmt.Sprintf("the id of life %d is held again after it was released", w.life))
	}
}

// holdID keeps the id taken after the end of a job that may have done something, and is the last
// write before the ack.
func (h *modelHolder) holdID(kind job.EventKind, started bool) {
	if !kind.Final() || h.until <= h.now || !started && !h.weak.heldUnstarted {
		return
	}
	w := h.modelMsg
	w.hold, w.ready = true, false
	for {
		h.pause()
		if expected := h.seq; h.weak.heldBlindly {
			h.publish(w, h.newestSeq(h.id))
		} else if !h.publish(w, expected) || h.chance(.05) { // its confirmation is lost
			h.pause()
			if h.newestSeq(h.id) == h.seq {
				continue
			}
		}
		return // it is held, or others have the id
	}
}

// release frees an id that is held. Its job has ended, and messages of it that are left lack the
// ack alone: whoever came to write that would hold the id again.
func (m *model) release() {
	hold := m.pick(func(w *modelMsg) bool { return w.hold })
	if hold == nil {
		return
	}
	life, seq := hold.life, hold.seq
	m.start(func(yield func(struct{}) bool) {
		for !m.weak.halfReleased {
			left := m.pick(func(w *modelMsg) bool { return w.life == life && !w.hold })
			if left == nil {
				break
			}
			seen := *left
			for first := true; first || seen.near && m.msgs[seen.seq] != nil || m.collected(&seen); first = false {
				if !yield(struct{}{}) {
					return
				}
			}
			delete(m.msgs, seen.seq)
		}
		if yield(struct{}{}) && m.msgs[seq] != nil {
			delete(m.msgs, seq)
			m.timed[life].released = true
		}
	})
}

// newestJob is newest, but for a hold.
func (m *model) newestJob(id int) (newest *modelMsg) {
	for _, w := range m.msgs {
		if w.id == id && !w.hold && (newest == nil || w.seq > newest.seq) {
			newest = w
		}
	}
	return newest
}

func (m *model) newestSeq(id int) uint64 {
	if w := m.newest(id); w != nil {
		return w.seq
	}
	return 0
}
