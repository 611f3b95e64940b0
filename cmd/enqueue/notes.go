package main

import (
	"context"
	"log/slog"
	"strings"
)

// notes is a log that shows a client's warnings, and nothing else, as lines of the command.
type notes struct {
	slog.Handler // discards what the parts below the client log
	command      *command
}

// Enabled implements [slog.Handler].
func (n notes) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements [slog.Handler].
func (n notes) Handle(_ context.Context, r slog.Record) error {
	var attrs []string
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a.String())
		return true
	})
	n.command.say("enqueue: %s (%s)", r.Message, strings.Join(attrs, ", "))
	return nil
}
