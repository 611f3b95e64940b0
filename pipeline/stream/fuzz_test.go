package stream

import (
	"encoding/json"
	"testing"
)

// Whatever is in a cursor, it is refused or can be gone on from, and is the same once it was written again.
func FuzzCursor(f *testing.F) {
	f.Add([]byte(`{"epoch":3,"seq":7,"done":[[9,12],[20,20]],"time":"2026-11-28T12:00:00Z","folds":[{"name":"a","state":"e30="},{"name":"b","chunks":"3-1","count":2}]}`))
	f.Add([]byte(`{"seq":7,"done":[[3,4]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeCursor(data)
		if err != nil {
			return
		}
		p := progress{seq: c.Seq, past: c.Done}
		for seq := c.Seq + 1; seq < c.Seq+50 && seq > c.Seq; seq++ {
			if p.deliver(seq) {
				p.settle(seq)
			}
		}
		if p.open != 0 || p.seq < c.Seq {
			t.Errorf("%d open behind %d of %+v", p.open, p.seq, c)
		}
		again, err := json.Marshal(c)
		if err != nil {
			return // a time that JSON cannot have
		}
		if _, err := decodeCursor(again); err != nil {
			t.Errorf("%s was written as %s: %v", data, again, err)
		}
	})
}
