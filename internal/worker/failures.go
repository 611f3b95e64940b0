package worker

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// How much the log says of jobs that fail.
const (
	failuresEvery = 10 * time.Second // between two summaries
	failuresTold  = 1                // failed runs of a type with a line of their own, until there is a summary without any
	deadTold      = 10               // dead jobs, likewise
	linesAtOnce   = 50               // of all types, from one summary to the next
	errorShown    = 500              // bytes
)

// A failureLog tells the log of failed runs and of dead jobs. The first ones of a type have a
// line each, at once. The others are counted, and summed up in one line every ten seconds,
// until no more come: ten thousand dead jobs must not hide what else the log has to say.
type failureLog struct {
	log  *slog.Logger
	wake chan struct{} // there is something to sum up later

	mu    sync.Mutex
	kinds map[failureKind]*failures // those that failed since the last summary but one
	lines int                       // since the last summary
}

// A failureKind is what is counted together.
type failureKind struct {
	typ  string
	dead bool
}

type failures struct {
	told int
	more int // since the last summary
	last failure
}

// A failure is what the log says of one run.
type failure struct {
	id, queue, reason, text string
	attempt                 int
	delay                   time.Duration
}

func newFailureLog(log *slog.Logger) *failureLog {
	return &failureLog{log: log, wake: make(chan struct{}, 1), kinds: make(map[failureKind]*failures)}
}

// note takes down how a run ended, if it failed.
func (l *failureLog) note(d *queue.Delivery, o *queue.Outcome) {
	if o.Kind != job.EventDead && o.Kind != job.EventRetrying {
		return
	}
	kind := failureKind{typ: d.Type, dead: o.Kind == job.EventDead}
	if !l.log.Enabled(context.Background(), kind.level()) {
		return
	}
	f := failure{id: d.ID, queue: d.Queue, attempt: d.Attempt, reason: o.Reason, delay: o.Delay, text: shownError(d, o)}
	if l.count(kind, f) {
		l.tell(context.Background(), kind, f, 1)
	}
}

// count reports whether f is to be told at once.
func (l *failureLog) count(kind failureKind, f failure) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, known := l.kinds[kind]
	if !known {
		all = &failures{}
		l.kinds[kind] = all
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	if all.told < kind.most() && l.lines < linesAtOnce {
		all.told++
		l.lines++
		return true
	}
	all.more++
	all.last = f
	return false
}

// level is that of what is told: of a job that will be retried, the problem "failing" is a warning.
func (k failureKind) level() slog.Level {
	if k.dead {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (k failureKind) most() int {
	if k.dead {
		return deadTold
	}
	return failuresTold
}

// Run writes the summaries until ctx ends, and then the last one.
func (l *failureLog) Run(ctx context.Context) error {
	timer := time.NewTimer(failuresEvery)
	timer.Stop()
	defer timer.Stop()
	due := false // the timer runs
	for {
		select {
		case <-ctx.Done():
			l.sumUp(ctx)
			return nil
		case <-l.wake:
			if !due {
				timer.Reset(failuresEvery)
			}
			due = true
		case <-timer.C:
			if due = l.sumUp(ctx); due {
				timer.Reset(failuresEvery)
			}
		}
	}
}

// sumUp tells what was counted, and forgets the kinds of which nothing was. It reports whether
// any are left.
func (l *failureLog) sumUp(ctx context.Context) (left bool) {
	type summary struct {
		failureKind
		failures
	}
	var summaries []summary
	l.mu.Lock()
	for kind, f := range l.kinds {
		if f.more == 0 {
			delete(l.kinds, kind)
			continue
		}
		summaries = append(summaries, summary{kind, *f})
		f.more = 0
	}
	left, l.lines = len(l.kinds) > 0, 0
	l.mu.Unlock()
	slices.SortFunc(summaries, func(a, b summary) int { return cmp.Compare(a.typ, b.typ) })
	for _, s := range summaries {
		l.tell(ctx, s.failureKind, s.last, s.more)
	}
	return left
}

// tell writes a line about n runs, of which f is the last.
func (l *failureLog) tell(ctx context.Context, kind failureKind, f failure, n int) {
	attrs := []slog.Attr{slog.String("type", kind.typ)}
	text := "a run failed, the job will be retried"
	switch {
	case kind.dead && n > 1:
		text = "more jobs are dead, this is the last of them"
	case kind.dead:
		text = "a job is dead"
	case n > 1:
		text = "more runs failed and will be retried, this is the last of them"
	}
	if n > 1 {
		attrs = append(attrs, slog.Int("count", n))
	}
	attrs = append(attrs, slog.String("queue", f.queue), slog.String("id", f.id), slog.Int("attempt", f.attempt))
	if kind.dead {
		attrs = append(attrs, slog.String("reason", f.reason))
	} else {
		attrs = append(attrs, slog.Duration("delay", f.delay))
	}
	l.log.LogAttrs(ctx, kind.level(), text, append(attrs, slog.String("err", f.text))...) //nolint:sloglint // the texts are constants
}

// shownError is a job's error as the log shows it: one line, not too long, and without the
// payload, which errors like to quote. What decoders say of one that is malformed is not
// shown: they quote parts of it.
func shownError(d *queue.Delivery, o *queue.Outcome) string {
	if o.Reason == job.ReasonMalformed {
		return "its payload or a header cannot be read; the job's last event says why"
	}
	text := o.Error
	if payload := strings.TrimSpace(string(d.Payload)); len(payload) > len("{}") && len(payload) <= len(text) {
		quoted := strconv.Quote(payload) // as %q writes it
		text = strings.ReplaceAll(text, payload, "[payload]")
		text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], "[payload]")
	}
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "\uFFFD")
	if len(text) <= errorShown {
		return text
	}
	end := errorShown - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
