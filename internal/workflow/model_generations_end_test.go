package workflow

// hasSucceeded writes the shard of a job again, so that whoever had it before counts nothing of it any more that no
// event says, and reports whether he has.
func (h *groupHolder) hasSucceeded(id int) bool {
	k := id / h.layout.Width
	for !h.weak.unbarredEnd {
		h.pause()
		s := h.shards[k]
		if how := s.At(id % h.layout.Width); s.Gen > h.msg.gen || s.Gen == h.msg.gen && how != Pending {
			return s.Gen == h.msg.gen && how == Succeeded
		}
		h.pause()
		if h.shards[k].seq == s.seq {
			s.Gen = h.msg.gen
			h.shards[k] = modelShard{s.Shard, h.sequence(), 0}
			return false
		}
	}
	return false
}

// arriveInSilence is arrive of a job whose end no event says. Who has lost it leaves it to whoever has it by now.
func (h *groupHolder) arriveInSilence(how State) {
	h.inSilence = true
	h.arrive(h.id, how)
	if h.weak.unheld || h.alive(h.proc) {
		h.ack()
	}
}

// tellFailing notes that a group will fail that tolerates no failure, for what comes early.
func (h *groupHolder) tellFailing(s *Shard) {
	for h.tolerate == nil && s.Counts().Failed > 0 && !h.weak.untold {
		h.pause()
		t, seq := h.tally, h.tallySeq
		if t.gen != h.msg.gen || t.state != Pending || t.failing {
			return
		}
		h.pause()
		if h.tallySeq == seq {
			h.judgeFailing()
			t.failing = true
			h.setTally(t)
			return
		}
	}
}

// judgeFailing notes that a group was said to fail of which no job has.
func (h *groupHolder) judgeFailing() {
	for i := range h.layout.Jobs {
		if h.events[modelLife{i, h.msg.gen}] == Failed {
			return
		}
	}
	h.fail("the group is to fail in generation %d, and no job of it has", h.msg.gen)
}
