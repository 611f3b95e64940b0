package workflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// notRefused fails the test unless err is an [*InvalidError].
func notRefused(t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[*InvalidError](err); !ok {
		t.Errorf("%v is no InvalidError", err)
	}
}

// No stored graph makes its reader panic, and what it takes comes to an end: with any end of its open steps
// nothing is left pending.
func FuzzDecodeSpec(f *testing.F) {
	seed, err := valid(step("a"), step("b", after(AllSucceeded, 0), after(AnySucceeded, 0)), undo("undo-a", 0)).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, uint64(1))
	f.Add([]byte(`{"id":"w","run":"r","gen":1,"steps":[{"name":"a","kind":"signal"},{"name":"b","kind":"job","type":"t","after":[{"mode":"fail","of":[0]}]}]}`), uint64(7))
	f.Add([]byte(`{"id":"w","run":"r","gen":1,"steps":[{"name":"a","kind":"job","type":"t","after":[{"mode":"end","of":[0]}]}]}`), uint64(0))
	f.Add([]byte(`{"id":"w","run":"r","gen":1,"steps":[{"name":"a","kind":"job","type":"t"},{"name":"b","kind":"job","type":"t","after":[{"mode":"fail","of":[0],"early":true}]}]}`), uint64(9))
	f.Fuzz(func(t *testing.T, data []byte, ends uint64) {
		s, err := DecodeSpec(data)
		if err != nil {
			notRefused(t, err)
			return
		}
		again, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if s, err = DecodeSpec(again); err != nil {
			t.Fatal(err)
		}
		if twice, err := s.Encode(); err != nil || !bytes.Equal(again, twice) {
			t.Fatalf("%s becomes %s (%v)", again, twice, err)
		}
		g, err := NewGraph(s)
		if err != nil {
			t.Fatal(err)
		}
		tally := NewTally(s.ID, 1, len(s.Steps))
		tally = g.Close(&tally)
		for n := range len(s.Steps) + 1 {
			if ends>>(n%64)&3 == 3 {
				tally, _ = g.Cancel(&tally, "requested")
			}
			open := g.Open(&tally)
			if len(open) == 0 {
				break
			}
			tally, _ = g.End(&tally, open[0], Succeeded+State(ends>>(n%64)&1))
		}
		if o, ended := g.Outcome(&tally); !ended {
			t.Errorf("%s does not end: %v, %v", data, tally, o)
		}
	})
}

// No stored tally makes its reader panic, and it is read as it was written.
func FuzzDecodeTally(f *testing.F) {
	tally := NewTally("w", 2, 5)
	tally.Bits.set(4, Failed)
	f.Add(tally.Encode())
	f.Add([]byte(`{"id":"w","gen":1,"n":3,"bits":"wA==","cancelled":true}`))
	f.Add([]byte(`{"id":"w","gen":1,"n":4096,"bits":""}`))
	f.Add([]byte(`{"id":"w","gen":3,"n":2,"bits":"AA==","failing":[1],"since":2}`))
	f.Add([]byte(`{"id":"w","gen":3,"n":2,"bits":"AA==","failing":[-1,2],"since":4}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tally, err := DecodeTally(data)
		if err != nil {
			notRefused(t, err)
			return
		}
		again, err := DecodeTally(tally.Encode())
		if err != nil || !bytes.Equal(again.Encode(), tally.Encode()) {
			t.Errorf("%s becomes %s (%v)", tally.Encode(), again.Encode(), err)
		}
		for i := range tally.N + 1 {
			if i == tally.N && tally.At(i) != Pending {
				t.Errorf("%s has a bit behind its steps", data)
			}
		}
	})
}

// Nor do the documents of a group.
func FuzzDecodeGroup(f *testing.F) {
	f.Add([]byte(`{"gen":1,"sealed":100000,"full":"AQ==","ok":4093,"failed":3,"skipped":0}`))
	f.Add([]byte(`{"gen":1,"bits":"VQ=="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := DecodeRoot(data); err != nil {
			notRefused(t, err)
		} else {
			next, changed := r.Fill(9, Counts{Failed: 1})
			if full, again := next.Fill(9, Counts{Failed: 1}); again || changed && full.Failed != r.Failed+1 {
				t.Errorf("%s: a shard counts twice: %+v", data, full)
			}
			r.End(ShardJobs, 0)
		}
		s, err := DecodeShard(data)
		if err != nil {
			notRefused(t, err)
			return
		}
		next, changed := s.End(17, Skipped)
		if got := next.Counts().Ended(); changed && got != s.Counts().Ended()+1 || !changed && s.At(17) == Pending {
			t.Errorf("%s: %+v after an end", data, next.Counts())
		}
		if !json.Valid(next.Encode()) {
			t.Errorf("%s", next.Encode())
		}
	})
}

// No header makes its reader panic, and what it takes is as it is written.
func FuzzParseMember(f *testing.F) {
	f.Add("import-2026-11-28/x7/1/11")
	f.Add("w/r/2/3/4095")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMember(s)
		if err != nil {
			notRefused(t, err)
			return
		}
		if m.String() != s {
			t.Errorf("%q is read as %s", s, m)
		}
	})
}
