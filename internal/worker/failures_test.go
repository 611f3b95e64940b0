package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// tellFailures runs f with a log of failures on virtual time, and returns the lines it wrote.
func tellFailures(t *testing.T, f func(l *failureLog)) (lines []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newFailureLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})))
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = l.Run(ctx) }) // always nil
		f(l)
		synctest.Wait()
		stop()
		wg.Wait()
		lines = strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	})
	return lines
}

func failed(id, typ string, attempt int, o queue.Outcome) (*queue.Delivery, *queue.Outcome) {
	d := new(queue.Delivery)
	d.ID, d.Type, d.Queue, d.Attempt = id, typ, "default", attempt
	d.Payload = []byte(`{"card":"4111"}`)
	return d, &o
}

func TestEachFailureHasALine(t *testing.T) {
	lines := tellFailures(t, func(l *failureLog) {
		l.note(failed("a", "email", 1, queue.Outcome{Kind: job.EventRetrying, Error: "no route", Delay: time.Second}))
		l.note(failed("b", "email", 3, queue.Outcome{Kind: job.EventDead, Reason: job.ReasonExhausted, Error: "no route"}))
		l.note(failed("c", "email", 1, queue.Outcome{Kind: job.EventSucceeded}))
		l.note(failed("d", "email", 1, queue.Outcome{Kind: job.EventSnoozed}))
		l.note(failed("e", "email", 1, queue.Outcome{Kind: job.EventHandedBack, Error: "no descriptors"}))
	})
	want := []string{
		`level=DEBUG msg="a run failed, the job will be retried" type=email queue=default id=a attempt=1 delay=1s err="no route"`,
		`level=WARN msg="a job is dead" type=email queue=default id=b attempt=3 reason=exhausted err="no route"`,
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("log:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

// Ten thousand dead jobs and as many failed runs in a minute are a handful of lines, in which
// each of them is counted.
func TestManyFailuresAreSummedUp(t *testing.T) {
	const jobs = 10_000
	lines := tellFailures(t, func(l *failureLog) {
		for i := range jobs {
			id := fmt.Sprintf("job-%d", i)
			l.note(failed(id, "email", 1, queue.Outcome{Kind: job.EventRetrying, Error: "no route"}))
			l.note(failed(id, "email", 2, queue.Outcome{Kind: job.EventDead, Reason: job.ReasonPermanent, Error: "no customer"}))
			time.Sleep(time.Minute / jobs)
		}
	})
	const summaries = 6
	if most := deadTold + failuresTold + 2*summaries; len(lines) > most {
		t.Errorf("%d lines, want at most %d", len(lines), most)
	}
	told := make(map[string]int) // by level
	for _, line := range lines {
		n := 1
		if _, after, ok := strings.Cut(line, " count="); ok {
			if _, err := fmt.Sscan(after, &n); err != nil {
				t.Fatal(err)
			}
		}
		level, _, _ := strings.Cut(line, " ")
		told[level] += n
	}
	if told["level=DEBUG"] != jobs || told["level=WARN"] != jobs {
		t.Errorf("told %v, want %d of each", told, jobs)
	}
	for _, want := range []string{
		"more runs failed and will be retried, this is the last of them\" type=email count=",
		"more jobs are dead, this is the last of them\" type=email count=",
		fmt.Sprintf("queue=default id=job-%d attempt=2 reason=permanent err=\"no customer\"", jobs-1),
	} {
		if !strings.Contains(strings.Join(lines, "\n"), want) {
			t.Errorf("no line has %q:\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

// Once a type is quiet, its next failure has a line of its own again.
func TestQuietTypeIsToldAtOnce(t *testing.T) {
	lines := tellFailures(t, func(l *failureLog) {
		for range 3 {
			l.note(failed("a", "email", 1, queue.Outcome{Kind: job.EventRetrying, Error: "no route"}))
		}
		time.Sleep(2*failuresEvery + time.Second)
		l.note(failed("b", "email", 1, queue.Outcome{Kind: job.EventRetrying, Error: "no route"}))
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		if got := l.kinds[failureKind{typ: "email"}].told; got != 1 {
			t.Errorf("%d told at once, want 1", got)
		}
	})
	if len(lines) != 3 || !strings.Contains(lines[1], "count=2") {
		t.Errorf("%d lines, want one, a summary of two, and one:\n%s", len(lines), strings.Join(lines, "\n"))
	}
}

// A thousand types that fail at once are not a thousand lines, or at least not at once.
func TestManyTypesShareTheLines(t *testing.T) {
	tellFailures(t, func(l *failureLog) {
		for i := range 1000 {
			l.note(failed("a", fmt.Sprintf("type-%d", i), 1, queue.Outcome{Kind: job.EventRetrying, Error: "no route"}))
		}
		if l.lines != linesAtOnce {
			t.Errorf("%d lines at once, want %d", l.lines, linesAtOnce)
		}
	})
}

func TestShownError(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", errorShown)
	for _, tt := range []struct{ err, want string }{
		{"no route", "no route"},
		{"cannot send {\"card\":\"4111\"}\nto b", "cannot send [payload] to b"},
		{"a\n\tb\r\nc", "a b c"},
		{long, long[:errorShown-4] + "…"},
		{`cannot send "{\"card\":\"4111\"}"`, `cannot send "[payload]"`}, // as %q writes it
		{strings.Repeat("\x80", 2*errorShown), "\uFFFD"},
	} {
		if got := shownError(failed("a", "email", 1, queue.Outcome{Error: tt.err})); got != tt.want {
			t.Errorf("%q is shown as %q, want %q", tt.err, got, tt.want)
		}
	}
	err := errors.New("cannot unmarshal number 4111 into Go value of type string")
	malformed := queue.Outcome{Kind: job.EventDead, Reason: job.ReasonMalformed, Error: err.Error()}
	if got := shownError(failed("a", "email", 1, malformed)); strings.Contains(got, "4111") {
		t.Errorf("of a malformed payload is shown %q", got)
	}
}
