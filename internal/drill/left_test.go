package drill

import "testing"

// What a broker was told that it may remove, and is there still, is nothing that a drill left.
func TestIsBelow(t *testing.T) {
	t.Parallel()
	floors := map[string]uint64{"millhand.drill-1.ready.held.*": 7, "millhand.drill-1.ready.quick.*": 0}
	for _, tt := range []struct {
		subject string
		seq     uint64
		want    bool
	}{
		{"millhand.drill-1.ready.held.a", 7, true},
		{"millhand.drill-1.ready.held.a", 8, false},
		{"millhand.drill-1.ready.quick.a", 2, false},
		{"millhand.drill-1.later.held.a", 2, false},
		{"pin", 1, false},
	} {
		if got := isBelow(floors, tt.subject, tt.seq); got != tt.want {
			t.Errorf("%s at %d: %t", tt.subject, tt.seq, got)
		}
	}
}
