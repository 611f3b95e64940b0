package workflow

import (
	"maps"
	"slices"
)

// fill publishes the jobs, from where an earlier run of it has come to.
func (h *groupHolder) fill() {
	fresh, ok := h.beginGroup()
	if !ok {
		return
	}
	h.resumed = !fresh || h.msg.gen > 1
	again := h.resumed
	const document = 2
	for from := h.root.Published; from < h.layout.Jobs; {
		h.pause()
		t := h.tally
		if t.gen != h.msg.gen || t.state != Pending {
			return
		}
		if t.cancelled {
			h.skip(from)
			return
		}
		end := min((from/document+1)*document, h.layout.Jobs)
		for i := from; i < end; i++ {
			h.publishJob(i, again)
		}
		again = h.msg.gen > 1
		r, ok := h.changeRoot(func(r *Root) (Root, bool) { return r.Publish(end) })
		if !ok {
			return
		}
		from = r.Published
	}
	h.countShards()
}

func (h *groupHolder) publishJob(i int, again bool) {
	if again {
		h.pause()
		if s := h.shards[i/h.layout.Width]; s.Gen == h.msg.gen && s.At(i%h.layout.Width) != Pending {
			return
		}
	}
	h.pause()
	if w := h.queue[i]; w == nil || w.gen < h.msg.gen { // in place of one of an older generation, which is ended
		if w != nil && h.events[modelLife{i, w.gen}] == Pending {
			h.events[modelLife{i, w.gen}] = Failed
		}
		h.queue[i] = &groupMsg{seq: h.sequence(), gen: h.msg.gen, again: again}
		if !again || h.published[modelLife{i, h.msg.gen}] == 0 {
			h.published[modelLife{i, h.msg.gen}]++
		}
	}
}

// skip counts all jobs from one on as skipped.
func (h *groupHolder) skip(from int) {
	for i := from; i < h.layout.Jobs; {
		k := i / h.layout.Width
		end := min((k+1)*h.layout.Width, h.layout.Jobs)
		var ends []JobEnd
		for ; i < end; i++ {
			ends = append(ends, JobEnd{i % h.layout.Width, Skipped})
		}
		h.arriveAll(k, ends...)
	}
	if _, ok := h.changeRoot(func(r *Root) (Root, bool) { return r.Publish(h.layout.Jobs) }); ok {
		h.countShards()
	}
}

func (h *groupHolder) countShards() {
	for k := range h.layout.Shards() {
		h.pause()
		s := h.shards[k]
		if (h.resumed && !h.weak.unfinished || h.msg.gen > 1) && s.Gen == h.msg.gen {
			h.tellFailing(&s.Shard)
			h.countShard(k, &s.Shard)
		}
	}
	h.pause()
	if h.root.Gen == h.msg.gen {
		h.endGroup(h.root)
	}
}

// beginGroup writes the root unless it is there. It reports whether it did, and whether the generation goes on.
func (h *groupHolder) beginGroup() (fresh, ok bool) {
	for {
		h.pause()
		if t := h.tally; t.gen != h.msg.gen || t.state != Pending {
			return false, false
		}
		h.pause()
		old, seq := h.root, h.rootSeq
		switch {
		case old != nil && old.Gen == h.msg.gen:
			return false, true
		case old != nil && old.Gen > h.msg.gen:
			return false, false
		case old != nil && !h.weak.unretried && !h.retryShards(old):
			continue // somebody else does the same
		}
		root := Root{Gen: h.msg.gen}
		root, _ = root.Seal(h.layout.Jobs)
		h.pause()
		if h.rootSeq != seq {
			continue
		}
		h.root, h.rootSeq = &root, h.sequence()
		return true, true
	}
}

func (h *groupHolder) retryShards(old *Root) bool {
	state, ended := old.End(h.layout.Width, h.tolerates())
	all := ended && state == Succeeded
	for k := range h.layout.Shards() {
		h.pause()
		s := h.shards[k]
		if s.Gen >= h.msg.gen {
			continue
		}
		h.pause()
		if h.shards[k].seq != s.seq {
			return false
		}
		next := s.Retry(h.msg.gen, all)
		h.shards[k] = modelShard{next, h.sequence(), 0}
		for at := range h.layout.Size(k) {
			h.kept[modelLife{k*h.layout.Width + at, h.msg.gen}] = next.At(at) == Succeeded
		}
	}
	return true
}

// drop cancels the jobs that are there.
func (h *groupHolder) drop() {
	h.stops++
	h.dropped[h.msg.gen] = true
	h.pause()
	for _, i := range slices.Sorted(maps.Keys(h.queue)) {
		h.pause()
		w, life := h.queue[i], modelLife{i, h.msg.gen}
		if i < 0 || w == nil || w.gen != h.msg.gen || h.silent[i] && h.holds(i) { // who is told ends it himself
			continue
		}
		seq, end := w.seq, Failed
		if h.events[life] == Pending && h.hasSucceeded(i) {
			end = Succeeded
		}
		h.pause()
		if how := h.events[life]; how == Pending {
			h.events[life] = end
		} else if how != Failed {
			continue // whoever ended it removes it
		}
		h.arrive(i, Failed)
		h.pause()
		if w := h.queue[i]; w != nil && w.seq == seq {
			delete(h.queue, i)
		}
	}
}

func (m *generationModel) judge() {
	failed, skipped := 0, 0
	for i := range m.layout.Jobs {
		s := m.shards[i/m.layout.Width]
		state := s.At(i % m.layout.Width)
		life := modelLife{i, m.tally.gen}
		again := m.silent[i] && m.published[life] > 1 // by a filler that had lost it: it ran twice, and is counted once
		if event := m.events[life]; event != Pending && state != event && state != Skipped && s.Gen == m.tally.gen && !again {
			m.fail("job %d is %v, its event %v", i, state, event)
		}
		switch state {
		case Failed:
			failed++
		case Skipped:
			skipped++
		case Succeeded, Pending:
		}
	}
	want := Succeeded
	if failed > m.tolerates() || skipped > 0 {
		want = Failed
	}
	switch {
	case len(m.queue) > 0:
		m.fail("left in the queue: %v", m.queue)
	case m.tally.state == Pending:
		m.fail("the group did not end: %+v %v %v", m.tally, m.root, m.shards)
	case m.tally.state != want:
		m.fail("the group is %v, of which %d jobs failed and %d were skipped: %v %v", m.tally.state, failed, skipped, m.root, m.shards)
	}
}
