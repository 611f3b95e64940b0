package worker

import (
	"github.com/millhand/millhand/internal/slots"
)

// HandlerGrace is how long a handler has to return.
const HandlerGrace = handlerGrace

// Pool returns the permits of a limit, which a test gives as it likes.
func (w *Worker) Pool(k slots.Key) slots.Limiter { return w.slots.Limiter(k, 0) }
