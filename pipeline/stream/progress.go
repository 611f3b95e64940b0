package stream

import "slices"

// maxRanges is how many ranges a cursor has at most: with more nothing further is handed out.
const maxRanges = 4096

// A span is the messages of a partition from one sequence to another one, both included.
type span [2]uint64

// progress is how far a partition has been handled. It is pure.
type progress struct {
	seq  uint64 // everything up to it is settled
	past []span // settled before this process, and not passed yet
	all  []part // handed out or settled beyond seq, in order
	open int    // of all: those not settled
}

type part struct {
	span
	settled bool
}

// deliver notes that the message with this sequence, which is greater than those before, is handed out. It
// reports false if it is settled already.
func (p *progress) deliver(seq uint64) bool {
	for len(p.past) > 0 && p.past[0][1] < seq {
		p.all = append(p.all, part{p.past[0], true})
		p.past = p.past[1:]
	}
	if seq <= p.seq || len(p.past) > 0 && p.past[0][0] <= seq {
		return false
	}
	p.all = append(p.all, part{span: span{seq, seq}})
	p.open++
	p.trim()
	return true
}

// settle notes that the message is settled.
func (p *progress) settle(seq uint64) {
	i, ok := slices.BinarySearchFunc(p.all, seq, func(of part, seq uint64) int {
		switch {
		case of.span[1] < seq:
			return -1
		case of.span[0] > seq:
			return 1
		}
		return 0
	})
	if !ok || p.all[i].settled {
		return
	}
	p.all[i].settled = true
	p.open--
	if i+1 < len(p.all) && p.all[i+1].settled {
		p.all[i].span[1] = p.all[i+1].span[1]
		p.all = slices.Delete(p.all, i+1, i+2)
	}
	if i > 0 && p.all[i-1].settled {
		p.all[i-1].span[1] = p.all[i].span[1]
		p.all = slices.Delete(p.all, i, i+1)
	}
	p.trim()
}

// pass notes that everything up to seq that was not handed out is settled, or another partition's.
func (p *progress) pass(seq uint64) {
	if p.open > 0 || seq <= p.seq {
		return
	}
	p.seq, p.all = seq, nil // none of them is beyond seq
	for len(p.past) > 0 && p.past[0][0] <= p.seq {
		p.seq = max(p.seq, p.past[0][1])
		p.past = p.past[1:]
	}
}

func (p *progress) trim() {
	for len(p.all) > 0 && p.all[0].settled {
		p.seq = p.all[0].span[1]
		p.all = p.all[1:]
	}
	if len(p.all) == 0 {
		p.all = nil
	}
}

// done returns what is settled beyond seq.
func (p *progress) done() (spans []span) {
	for _, of := range p.all {
		if of.settled {
			spans = append(spans, of.span)
		}
	}
	return append(spans, p.past...)
}

// full reports whether a cursor has room for no more ranges.
func (p *progress) full() bool { return p.open > 0 && len(p.all)-p.open+len(p.past)+1 > maxRanges-1 }
