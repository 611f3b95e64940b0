package natstest

import (
	"io"
	"log/slog"
	"testing"

	"pgregory.net/rapid"
)

// TB is a test: *testing.T, *testing.B or *rapid.T.
type TB interface {
	rapid.TB
	Cleanup(f func())
}

var (
	_ TB = (*testing.T)(nil)
	_ TB = (*testing.B)(nil)
	_ TB = (*rapid.T)(nil)
)

// Output is where a test logs: its own output or, for the many cases of a property, nowhere.
func Output(t TB) io.Writer {
	if tt, ok := t.(*testing.T); ok {
		return tt.Output()
	}
	return io.Discard
}

// Logger logs everything to w.
func Logger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
