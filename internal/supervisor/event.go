package supervisor

import (
	"log/slog"
	"time"
)

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	ChildStarted    EventKind = iota // it is ready; Restarts tells a first start from a later one
	ChildIgnored                     // it returned ErrIgnore instead of becoming ready
	ChildFailed                      // it ended before it was ready: Err
	ChildEnded                       // it ended by itself: Err, nil for a normal end
	ChildStopped                     // its supervisor stopped it
	ChildRestarting                  // it will be started again after Delay, with all of Group, because of Err
	ChildAbandoned                   // it did not return within its StopTimeout and is no longer waited for: Stack
	ChildReturned                    // an abandoned one returned after all
	ShuttingDown                     // a significant child ended, so the supervisor ends
	GaveUp                           // too many restarts: the supervisor stops its children and ends with Err
)

// String is the event as a log message.
func (k EventKind) String() string {
	return nameOf(k, "child started", "child ignored", "child failed to start", "child ended", "child stopped",
		"child restarting", "child abandoned", "abandoned child returned", "supervisor shuts down", "supervisor gave up")
}

// Event is something that happened in a supervisor. An event is emitted after the fact, except
// ChildRestarting, ShuttingDown and GaveUp, which announce a decision before it is carried out. It
// makes one line of a log:
//
//	logger.LogAttrs(ctx, e.Level(), e.Kind.String(), e.Attrs()...)
type Event struct {
	Kind       EventKind
	Supervisor string
	Child      string
	Err        error         // why; nil for a normal end and where there is no why
	Restarts   int           // of this child, including the one announced
	Strategy   Strategy      // of the supervisor, for ChildRestarting
	Group      []string      // the children that ChildRestarting starts, in start order
	Delay      time.Duration // before a restart
	Stack      string        // of a panic, or where an abandoned child hangs
	Redundant  bool          // of ChildEnded and ChildFailed: the next event is a ChildRestarting or GaveUp and tells the same
}

// Level is the event's place in a log: Info for the life of children, Warn for what heals by
// itself, Error for what a person should look at, and Debug for what the next event tells again.
func (e Event) Level() slog.Level {
	switch {
	case e.Redundant:
		return slog.LevelDebug
	case e.Kind == GaveUp, e.Kind == ChildAbandoned:
		return slog.LevelError
	case e.Kind == ChildRestarting, e.Kind == ChildFailed, notable(e.Err):
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// Attrs is the event's data as log attributes, without those that are empty.
func (e Event) Attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("supervisor", e.Supervisor)}
	if e.Child != "" {
		attrs = append(attrs, slog.String("child", e.Child))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("err", e.Err))
	}
	if e.Restarts > 0 {
		attrs = append(attrs, slog.Int("restarts", e.Restarts))
	}
	if e.Kind == ChildRestarting {
		attrs = append(attrs, slog.String("strategy", e.Strategy.String()), slog.Any("group", e.Group), slog.Duration("delay", e.Delay))
	}
	if e.Stack != "" {
		attrs = append(attrs, slog.String("stack", e.Stack))
	}
	return attrs
}
