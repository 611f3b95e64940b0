package worker

import "sync"

// A straggler is a handler that may be given up, since it ignores the end of its context.
type straggler struct {
	mu     sync.Mutex
	stuck  bool // it is one of those that the worker has too many of at some time
	isBack bool // it has returned
}

// count has it be one of a worker's abandoned handlers, unless it has returned.
func (s *straggler) count(w *Worker) {
	s.mu.Lock()
	s.stuck = !s.isBack
	stuck := s.stuck
	s.mu.Unlock()
	if stuck {
		w.onAbandoned()
	}
}

// comeBack notes that it has returned.
func (s *straggler) comeBack(w *Worker) {
	s.mu.Lock()
	s.isBack = true
	stuck := s.stuck
	s.mu.Unlock()
	if stuck {
		w.abandoned.Add(-1)
	}
}
