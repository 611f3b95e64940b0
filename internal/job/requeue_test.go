package job

import "testing"

// The vectors of docs/wire.md.
func TestRequeuedLife(t *testing.T) {
	for _, c := range []struct {
		died   string
		record uint64
		want   string
	}{
		{"0d9b54ab", 7, "q-b5c19bade777dee469991058872891cf"},
		{"seq-12", 889000000000001, "q-168b10235626fac8a3a682ecd7141b1b"},
		{"", 1, "q-2215e8ac4e2b871c2a48189e79738c95"},
	} {
		if got := RequeuedLife(c.died, c.record); got != c.want {
			t.Errorf("RequeuedLife(%q, %d) = %s, want %s", c.died, c.record, got, c.want)
		}
	}
}
