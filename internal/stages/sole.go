package stages

import (
	"errors"
	"sync/atomic"
)

// ErrRunning is returned by Run while another Run of the same stage is in progress, as when a supervisor has given up
// waiting for it.
var ErrRunning = errors.New("stages: stage is running already")

// sole lets one goroutine at a time run a stage.
type sole struct {
	busy atomic.Bool
}

func (s *sole) enter() error {
	if !s.busy.CompareAndSwap(false, true) {
		return ErrRunning
	}
	return nil
}

func (s *sole) leave() { s.busy.Store(false) }
