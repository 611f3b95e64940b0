package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// eventLog keeps the events of supervisors.
type eventLog struct {
	mu     sync.Mutex
	events []Event
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// of returns the events of a kind.
func (l *eventLog) of(kind EventKind) []Event {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.events), func(e Event) bool { return e.Kind != kind })
}

// lines returns all events as "kind child".
func (l *eventLog) lines() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, e := range l.events {
		lines = append(lines, strings.TrimSpace(e.Kind.String()+" "+e.Child))
	}
	return lines
}

// Who gives up says so before anything else happens because of it.
func TestGiveUpIsToldBeforeItEscalates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		crash := make(chan struct{})
		inner := mustNew(t, Spec{Name: "inner", MaxRestarts: new(0), OnEvent: log.add, Children: []Child{
			{Name: "sibling", Run: untilStopped},
			{Name: "leaf", Run: func(ctx context.Context) error {
				select {
				case <-crash:
					return errBoom
				case <-ctx.Done():
					return nil
				}
			}},
		}})
		outer := mustNew(t, Spec{Name: "outer", OnEvent: log.add, Children: []Child{{Name: "inner", Part: inner}}})
		start(t, outer)
		crash <- struct{}{}
		synctest.Wait()
		if got := childNamed(outer.Tree(), "inner").LastError; !strings.Contains(got, "boom") {
			t.Errorf("last error of inner = %q, want that it gave up because of boom", got)
		}
		want := []string{
			"child started sibling", "child started leaf", "child started inner",
			"child ended leaf", "supervisor gave up leaf", "child stopped sibling",
			"child ended inner", "child restarting inner",
			"child started sibling", "child started leaf", "child started inner",
		}
		if diff := cmp.Diff(want, log.lines()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		gaveUp := log.of(GaveUp)[0]
		if e, ok := errors.AsType[*IntensityError](gaveUp.Err); !ok || e.Child != "leaf" || !errors.Is(gaveUp.Err, errBoom) {
			t.Errorf("gave up because of %v, want %v of leaf", gaveUp.Err, errBoom)
		}
	})
}

// A restart is one line of the log, with who, what and why; so is giving up. What leads to it is
// for debugging.
func TestRestartIsOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log eventLog
		loud := func(e Event) {
			if e.Level() > slog.LevelInfo {
				log.add(e)
			}
		}
		starts := 0
		child := func(name string) Child {
			return Child{Name: name, RunReady: func(_ context.Context, ready func()) error {
				if starts++; starts == 2 {
					return errBoom // the restart fails too
				}
				ready()
				panic("oops")
			}}
		}
		inner := mustNew(t, Spec{Name: "inner", MaxRestarts: new(2), OnEvent: loud, Children: []Child{child("leaf")}})
		outer := mustNew(t, Spec{Name: "outer", MaxRestarts: new(0), OnEvent: loud, Children: []Child{{Name: "inner", Part: inner}}})
		if err := outer.Run(t.Context()); !errors.Is(err, ErrIntensity) {
			t.Errorf("Run = %v, want %v", err, ErrIntensity)
		}
		want := []string{"child restarting leaf", "child restarting leaf", "supervisor gave up leaf", "supervisor gave up inner"}
		if diff := cmp.Diff(want, log.lines()); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		for i, want := range []bool{true, false, true, false} { // the panic's, once
			if got := log.events[i].Stack != ""; got != want {
				t.Errorf("line %d has a stack: %t, want %t", i, got, want)
			}
		}

		log.events = nil
		d, r := startDynamic(t, DynamicSpec{MaxRestarts: new(1), OnEvent: loud})
		if err := d.Start(Child{Name: "leaf", Run: func(context.Context) error { panic("oops") }}); err != nil {
			t.Fatal(err)
		}
		r.expectExit("shutdown")
		if diff := cmp.Diff([]string{"child restarting leaf", "supervisor gave up leaf"}, log.lines()); diff != "" {
			t.Errorf("lines of a dynamic supervisor (-want +got):\n%s", diff)
		}
	})
}

func TestEventsAsLogLines(t *testing.T) {
	tests := []struct {
		event Event
		level string
		want  string
	}{
		{Event{Kind: ChildStarted, Supervisor: "worker", Child: "renewer"}, "INFO", "supervisor=worker child=renewer"},
		{Event{Kind: ChildEnded, Supervisor: "worker", Child: "renewer"}, "INFO", "supervisor=worker child=renewer"},
		{Event{Kind: ChildEnded, Supervisor: "worker", Child: "renewer", Err: errBoom}, "WARN", "supervisor=worker child=renewer err=boom"},
		{Event{Kind: ChildEnded, Supervisor: "worker", Child: "renewer", Err: errBoom, Redundant: true}, "DEBUG", "supervisor=worker child=renewer err=boom"},
		{Event{
			Kind: ChildRestarting, Supervisor: "worker", Child: "renewer", Err: errBoom, Restarts: 2, Strategy: RestForOne,
			Group: []string{"renewer", "runner"}, Delay: time.Second,
		}, "WARN", "supervisor=worker child=renewer err=boom restarts=2 strategy=rest_for_one group=[renewer runner] delay=1s"},
		{Event{Kind: ChildAbandoned, Supervisor: "worker", Child: "job", Stack: "here"}, "ERROR", "supervisor=worker child=job stack=here"},
		{Event{Kind: GaveUp, Supervisor: "worker", Child: "renewer", Err: errBoom}, "ERROR", "supervisor=worker child=renewer err=boom"},
	}
	for _, test := range tests {
		var fields []string
		for _, a := range test.event.Attrs() {
			fields = append(fields, a.String())
		}
		if got := strings.Join(fields, " "); got != test.want {
			t.Errorf("%v: attributes = %s, want %s", test.event.Kind, got, test.want)
		}
		if got := test.event.Level().String(); got != test.level {
			t.Errorf("%v: level = %s, want %s", test.event.Kind, got, test.level)
		}
	}
}
