package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	trialName    = "broker.trial"
	trialSize    = 2 * (PayloadLimit + HeaderRoom) // of the file that is written to see whether there is room, bytes
	sayEvery     = 10 * time.Second                // while there is none
	restartPause = 15 * time.Second                // between restarts for a disk that fills again and again: fewer than make a supervisor give up
)

// disk is what a store is on, once a write to it has failed. [disk.takesWrites] is for one
// goroutine.
type disk struct {
	dir string
	log *slog.Logger

	saidAt   time.Time
	openedAt time.Time // when takesWrites last said yes

	mu    sync.Mutex
	cause error // guarded by mu; why the last trial failed, nil if it did not
}

// failure returns why nothing can be written, nil if that is not known.
func (d *disk) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cause
}

// takesWrites reports whether a restart of the server would help, and says in the log why
// not.
func (d *disk) takesWrites(ctx context.Context, now time.Time) bool {
	err := d.try()
	d.mu.Lock()
	d.cause = err
	d.mu.Unlock()
	if err != nil {
		if now.Sub(d.saidAt) >= sayEvery {
			d.saidAt = now
			d.log.ErrorContext(ctx, "the broker stores nothing: jobs are not accepted, and ends wait to be written; it goes on by itself once it can write",
				slog.String("store", d.dir), slog.Any("err", err))
		}
		return false
	}
	if now.Sub(d.openedAt) < restartPause {
		return false
	}
	d.openedAt, d.saidAt = now, time.Time{}
	d.log.WarnContext(ctx, "the broker's disk takes writes again: restarting the broker", slog.String("store", d.dir))
	return true
}

// trialData needs its room on any disk: a file system that compresses keeps zeros for nothing.
func trialData() []byte {
	b := make([]byte, trialSize)
	_, _ = rand.Read(b) // never fails
	return b
}

// try writes a file beside the streams, and removes it.
func (d *disk) try() error {
	f, err := os.OpenFile(filepath.Join(d.dir, trialName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Write(trialData())
		err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
	}
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return fmt.Errorf("disk full: make room where %s is: %w", d.dir, err)
	default:
		return fmt.Errorf("store not writable: check %s: %w", d.dir, err)
	}
}
