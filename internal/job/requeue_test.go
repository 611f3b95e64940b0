package job

import "testing"

// The vectors of docs/wire.md.
func TestRequeuedLife(t *testing.T) {
	for _, c := range []struct{ died, want string }{
		{"0d9b54ab", "q-894ad552498314431126f2b8d90aa8e2"},
		{"seq-889000000000001", "q-8370fdd9d0110592aa09b0d1eb1fee12"},
		{"", "q-e3b0c44298fc1c149afbf4c8996fb924"},
	} {
		if got := RequeuedLife(c.died); got != c.want {
			t.Errorf("RequeuedLife(%q) = %s, want %s", c.died, got, c.want)
		}
	}
}
