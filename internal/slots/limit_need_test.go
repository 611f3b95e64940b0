package slots

import "testing"

// Jobs that wait need permits, requests that wait for jobs do not; and of a second limit only
// as many as there are of the first.
func TestNeed(t *testing.T) {
	tests := []struct {
		name     string
		backlog  uint64
		first    int // permits of the type
		typ, key int // what is needed of both
	}{
		{"no job", 0, 2, 0, 0},
		{"not asked yet", unheard, 0, 0, 0},
		{"jobs and no permit", 5, 0, 5, 0},
		{"jobs and permits", 5, 2, 5, 2},
		{"a long backlog", 1 << 40, 0, maxNeed, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newLimited(t, 10, 1)
			s := m.sources[0]
			key, typ := m.limit(Key{Kind: OfKey, Name: "k"}, s), m.limit(Key{Kind: OfType, Name: "t"}, s)
			m.allow(key, 0, forLong)
			m.allow(typ, tt.first, forLong)
			s.backlog = tt.backlog
			if got := m.need(typ, m.at); got != tt.typ {
				t.Errorf("%d permits of the type are needed, want %d", got, tt.typ)
			}
			if got := m.need(key, m.at); got != tt.key {
				t.Errorf("%d permits of the key are needed, want %d", got, tt.key)
			}
			m.allow(key, 3, forLong)
			if tt.backlog == 0 && m.asked() > 0 && m.need(key, m.at) != 0 {
				t.Error("a request that stands needs a permit")
			}
		})
	}
}

// Who may run only so many jobs of a queue here needs no more permits of all nodes than it could use.
func TestNeedUnderACap(t *testing.T) {
	for _, key := range []Key{{Kind: OfType, Name: "t"}, {Kind: OfQueue, Name: "q"}, {Kind: OfKey, Name: "k"}, {Kind: OfType, Name: "t", Rate: true}} {
		m := newLimited(t, 10, 1)
		s := m.sources[0]
		here, shared := m.limit(Key{Kind: ofQueueHere, Name: "q"}, s), m.limit(key, s)
		m.allow(shared, 0, forLong)
		m.allow(here, 2, forLong)
		s.backlog = 100
		if got := m.need(shared, m.at); got != 2 {
			t.Errorf("%v: %d permits are needed, want 2", key, got)
		}
	}
}
