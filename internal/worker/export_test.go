package worker

import "github.com/millhand/millhand/internal/queue"

// HandlerGrace is how long a handler has to return.
const HandlerGrace = handlerGrace

// Pool returns the permits of a limit, which a test gives as it likes.
func (w *Worker) Pool(k queue.PoolKey) *queue.Pool { return w.gate.Pool(k) }
