package broker

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	lockName     = "broker.lock"
	maxPIDDigits = 20
)

// lockStore makes the store directory if needed and takes its lock. The lock is the
// kernel's, so it ends with the process however that ends, and it is held per open
// file, so that it also keeps out a second broker in the same process. The file stays
// behind: removing it would let two brokers lock two files of the same name.
func lockStore(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make store: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock store: %w", err)
	}
	if taken, err := lockFile(f); taken || err != nil {
		defer func() { _ = f.Close() }() // nothing was written
		if taken {
			return nil, fmt.Errorf("%w: another worker%s runs its broker on %s; stop it, connect to it with --server, or choose another directory with --store",
				ErrStoreLocked, holder(f), dir)
		}
		return nil, fmt.Errorf("lock store %s: %w", dir, err)
	}
	// The number is for the reader of the error above, so a failure to write it is no reason to stop.
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

// holder names the process that has the lock, if it wrote its number already.
func holder(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, maxPIDDigits))
	pid := strings.TrimSpace(string(b))
	if err != nil || pid == "" {
		return ""
	}
	return " (process " + pid + ")"
}
