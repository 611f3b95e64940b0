package natstest

import "os"

// A server has its store in memory where that is possible. It makes a dozen files for each stream and
// syncs many of them, and tests start hundreds of servers: on a disk that is most of what they cost.
const memory = "/dev/shm"

// NewStore returns a directory for one server's store, and what removes it.
func NewStore() (dir string, remove func(), err error) {
	parent := "" // the disk
	if hasRoom(memory) {
		parent = memory
	}
	dir, err = os.MkdirTemp(parent, "natstest-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

func newStore(t TB) (dir string, remove func()) {
	t.Helper()
	dir, remove, err := NewStore()
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	return dir, remove
}
