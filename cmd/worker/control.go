package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/timespan"
)

// Bounds of what is read of a command that writes without end.
const (
	controlRate  = 64 << 10 // bytes a second; the rest is dropped
	controlLine  = 1 << 10  // bytes; a longer line is dropped
	longestDelay = 10 * 366 * 24 * time.Hour
)

// A control takes what a command says of itself while it runs, a line each, beside its output:
//
//	progress DONE[/TOTAL] [TEXT]
//	retry-after DURATION   if it exits with exitRetry: when to try again, as [millhand.RetryAfter]
//	snooze DURATION        if it exits with exitRetry: when to run again, as [millhand.Snooze]
//
// Of the last two the later line counts.
type control struct {
	log      *slog.Logger
	progress func(done, total int64, note string) // must not block

	line    []byte // begun
	dropped bool   // a part of the line, and so all of it
	second  time.Time
	read    int                   // bytes of this second
	later   func(err error) error // what exitRetry asks for; nil: the type's backoff
}

// Write implements [io.Writer]. It never fails: whatever a command says here, its job goes on.
func (c *control) Write(p []byte) (int, error) {
	if now := time.Now(); now.Sub(c.second) >= time.Second {
		c.second, c.read = now, 0
	}
	kept := p[:min(len(p), controlRate-c.read)]
	c.read += len(kept)
	for part := range bytes.Lines(kept) {
		c.add(part)
	}
	if len(kept) < len(p) { // if a line was cut, neither part of it counts
		c.line, c.dropped = c.line[:0], p[len(p)-1] != '\n'
	}
	return len(p), nil
}

// add takes a line or a part of it.
func (c *control) add(part []byte) {
	text, ended := bytes.CutSuffix(part, []byte("\n"))
	if c.line = append(c.line, text...); len(c.line) > controlLine {
		c.line, c.dropped = c.line[:0], true
	}
	if ended {
		c.end()
	}
}

// end obeys the line that was begun, which the last one need not have ended.
func (c *control) end() {
	line, dropped := strings.TrimSpace(string(c.line)), c.dropped
	c.line, c.dropped = c.line[:0], false
	if dropped || line == "" {
		return
	}
	if err := c.obey(line); err != nil {
		c.log.LogAttrs(context.Background(), slog.LevelDebug, "line of a command's control ignored",
			slog.String("line", line), slog.Any("err", err))
	}
}

func (c *control) obey(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "progress":
		done, total, note, err := parseProgress(rest)
		if err != nil {
			return err
		}
		c.progress(done, total, note)
	case "retry-after":
		d, err := parseDelay(rest)
		if err != nil {
			return err
		}
		c.later = func(err error) error { return millhand.RetryAfter(d, err) }
	case "snooze":
		d, err := parseDelay(rest)
		if err != nil {
			return err
		}
		c.later = func(error) error { return millhand.Snooze(d) }
	default:
		return errors.New("want progress, retry-after or snooze")
	}
	return nil
}

func parseProgress(text string) (done, total int64, note string, err error) {
	count, note, _ := strings.Cut(strings.TrimSpace(text), " ")
	first, second, hasTotal := strings.Cut(count, "/")
	if done, err = parseCount(first); err == nil && hasTotal {
		total, err = parseCount(second)
	}
	return done, total, strings.ToValidUTF8(strings.TrimSpace(note), "\uFFFD"), err
}

func parseCount(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%s is too large: at most %d", text, math.MaxInt64)
	}
	if err != nil {
		return 0, errors.New("want progress DONE or progress DONE/TOTAL, with whole numbers")
	}
	return int64(n), nil //nolint:gosec // 63 bits
}

func parseDelay(text string) (time.Duration, error) {
	d, err := timespan.Parse(strings.TrimSpace(text))
	if errors.Is(err, timespan.ErrTooLong) || err == nil && (d < 0 || d > longestDelay) {
		return 0, fmt.Errorf("%s: want a duration of at most 10 years (87840h)", strings.TrimSpace(text))
	}
	return d, err
}
