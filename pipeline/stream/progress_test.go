package stream

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is settled in whatever order, and whoever goes on from a cursor, nothing is left out, and what a
// cursor says to be settled is.
func TestProgress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "messages")
		seqs := make([]uint64, n) // other partitions have those in between
		for i, at := 0, uint64(0); i < n; i++ {
			at += uint64(rapid.IntRange(1, 3).Draw(t, "gap")) //nolint:gosec // small
			seqs[i] = at
		}
		settled := map[uint64]bool{}
		p := &progress{}
		next := 0
		var out []uint64
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0: // somebody else goes on from the cursor
				p = &progress{seq: p.seq, past: p.done()}
				out, next = nil, 0
				for next < n && seqs[next] <= p.seq {
					next++
				}
			case 1, 2, 3, 4, 5:
				if next == n {
					continue
				}
				if fresh := p.deliver(seqs[next]); fresh {
					out = append(out, seqs[next])
				} else if !settled[seqs[next]] {
					t.Fatalf("%d is left out", seqs[next])
				}
				next++
			case 6: // all before the next one was read
				upTo := seqs[n-1] + 1
				if next < n {
					upTo = seqs[next] - 1
				}
				if p.pass(upTo); len(out) == 0 && p.seq < upTo {
					t.Fatalf("it is at %d, and everything up to %d is settled", p.seq, upTo)
				}
			default:
				if len(out) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				settled[out[i]] = true
				p.settle(out[i])
				out = slices.Delete(out, i, i+1)
			}
			check(t, p, seqs, settled)
			if p.open != len(out) {
				t.Fatalf("%d are open, want %d", p.open, len(out))
			}
		}
	})
}

func check(t *rapid.T, p *progress, seqs []uint64, settled map[uint64]bool) {
	spans := p.done()
	for i, s := range spans {
		if s[0] > s[1] || s[0] <= p.seq || i > 0 && s[0] <= spans[i-1][1] {
			t.Fatalf("spans %v behind %d", spans, p.seq)
		}
	}
	for _, seq := range seqs {
		done := seq <= p.seq || slices.ContainsFunc(spans, func(s span) bool { return s[0] <= seq && seq <= s[1] })
		if done && !settled[seq] {
			t.Fatalf("%d is settled up to %d and in %v, and nobody has settled it", seq, p.seq, spans)
		}
		if !done && settled[seq] && p.open == 0 && len(p.all) == 0 && len(p.past) == 0 {
			t.Fatalf("%d is forgotten: settled up to %d", seq, p.seq)
		}
	}
}
