package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// serverLog hands nats-server's log to slog and keeps its fatal errors: with a logger of
// our own the server does not exit on one, it just never becomes ready.
type serverLog struct {
	log *slog.Logger

	mu     sync.Mutex
	fatals []error // guarded by mu
}

// fatal returns the server's fatal errors so far.
func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.fatals...)
}

// Noticef logs at debug level: the server's notices are a page of banner at each start.
func (l *serverLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }

func (l *serverLog) Warnf(format string, v ...any) { l.line(slog.LevelWarn, format, v) }

func (l *serverLog) Errorf(format string, v ...any) { l.line(slog.LevelError, format, v) }

func (l *serverLog) Debugf(format string, v ...any) { l.line(slog.LevelDebug, format, v) }

func (l *serverLog) Tracef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }

// Fatalf logs nothing: the error is returned to the caller of Start or Run.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatals = append(l.fatals, fmt.Errorf(format, v...))
}

func (l *serverLog) line(level slog.Level, format string, v []any) {
	ctx := context.Background() // the server has none to pass
	if l.log.Enabled(ctx, level) {
		l.log.LogAttrs(ctx, level, "nats-server", slog.String("text", fmt.Sprintf(format, v...)))
	}
}
