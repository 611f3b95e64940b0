package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// serverLog hands nats-server's log to slog and keeps its fatal errors: with a logger of
// our own the server does not exit on one, it just never becomes ready.
type serverLog struct {
	log *slog.Logger

	mu     sync.Mutex
	fatals []error // guarded by mu
	write  string  // guarded by mu; the first write that failed for good, empty if none
}

// failedForGood is in the line of the server's log that says that a stream, or its file
// store, does not write any more.
const failedForGood = "ritical write error"

// failedWrite returns what the server said of the first failed write that it never recovers
// from.
func (l *serverLog) failedWrite() (text string, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write, l.write != ""
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

// Errorf logs what follows from a failed write at debug level: the server repeats it for each
// message, and [disk] says it once in a while, and what is to be done.
func (l *serverLog) Errorf(format string, v ...any) {
	l.mu.Lock()
	if l.write == "" && strings.Contains(format, failedForGood) {
		l.write = fmt.Sprintf(format, v...)
	}
	level := slog.LevelError
	if l.write != "" && aboutFullDisk(v) {
		level = slog.LevelDebug
	}
	l.mu.Unlock()
	l.line(level, format, v)
}

// aboutFullDisk reports whether a line is about a write for which there was no room. Of lines
// that the server says only now and then, it has the text ready.
func aboutFullDisk(v []any) bool {
	return slices.ContainsFunc(v, func(arg any) bool {
		err, _ := arg.(error)
		text, _ := arg.(string)
		return isFull(err) || slices.ContainsFunc(noRoomErrnos(), func(f syscall.Errno) bool { return strings.Contains(text, f.Error()) })
	})
}

// noRoomErrnos are those by which a write failed for want of room: on the disk, in a quota, or in what
// a file may have.
func noRoomErrnos() []syscall.Errno {
	return []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}
}

func isFull(err error) bool {
	return slices.ContainsFunc(noRoomErrnos(), func(f syscall.Errno) bool { return errors.Is(err, f) })
}

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
