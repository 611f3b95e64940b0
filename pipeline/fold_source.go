package pipeline

// A placed reference knows where its message is among those whose order is kept.
type placed interface {
	Position() (partition int, seq uint64)
}

// position returns the partition of a message, and its place there. Without State all are in one, as pulled.
func (f *folding[K, V, A]) position(e *envelope) (partition int, seq uint64) {
	if p, ok := e.ref.(placed); ok && f.commit != nil {
		return p.Position()
	}
	return 0, e.number
}

// ErrOtherState is what a message fails with that adds a value to a fold whose State is another source's: that
// could not be kept together with how far the message's source is.
var ErrOtherState error = otherStateError{}

type otherStateError struct{}

func (otherStateError) Error() string {
	return "pipeline: the fold keeps its state with another source"
}

// Permanent tells sources that no further attempt helps.
func (otherStateError) Permanent() bool { return true }

// isOthers reports whether a message is of another source than the one that the state is kept with.
func (f *folding[K, V, A]) isOthers(e *envelope) bool {
	return f.commit != nil && any(e.acker) != any(f.config.State)
}
