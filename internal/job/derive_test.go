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

// Ids of lines are a part of the wire contract: another program may go on with a bulk.
func TestIDOfALineOfANamedBulk(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		number int
		want   string
	}{
		{"nightly", 1, "r-3f78786c0c2df9358f52b7c3f5806678"},
		{"nightly", 51000, "r-9e8e07c5f2f263fcf011be0ae0df3e70"},
	} {
		if got := ResumedID(tt.name, tt.number); got != tt.want {
			t.Errorf("ResumedID(%s, %d) = %s, want %s", tt.name, tt.number, got, tt.want)
		}
	}
}
