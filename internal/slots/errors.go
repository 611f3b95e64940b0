package slots

import "errors"

var (
	// ErrPermitLost says that the node lost a permit that a running job needs: the job is to
	// stop, and is handed back.
	ErrPermitLost = errors.New("permit lost")
	// ErrNoPermit says that a job in hand may not start: its queue is paused, or the permit
	// that it was asked for with is gone.
	ErrNoPermit = errors.New("no permit")
	// ErrNoSlot says that a job in hand may not start: no slot has become free in time, or no
	// more jobs are to start.
	ErrNoSlot = errors.New("no slot")
)
