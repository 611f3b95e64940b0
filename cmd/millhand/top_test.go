package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/console"
	"github.com/millhand/millhand/internal/natstest"
)

var update = flag.Bool("update", false, "write the golden files")

// A desk is a console over a broker of a test, with jobs in all states.
type desk struct {
	*testing.T
	*top
	link *natstest.Link
}

// inDesk runs f at a console in a bubble. Of the types, email died of the same error twice and of another
// once, import waits behind a limit and nobody serves it any more.
func inDesk(t *testing.T, f func(d *desk)) {
	t.Helper()
	natstest.BubbleAt(t, time.Date(2026, 11, 29, 14, 0, 0, 0, time.UTC), func(t *testing.T, srv *natstest.Server) {
		link := srv.Link()
		nc := link.Connect(t)
		a := &app{streams: streams{out: io.Discard, err: io.Discard}, output: formatText, color: colorNever, utc: true, conn: cli.ConnFlags{Namespace: "millhand"}}
		s := &session{app: a, by: "oncall", pace: &atomic.Pointer[bulk.Pace]{}}
		if err := s.use(nc); err != nil {
			t.Fatal(err)
		}
		defer s.close()
		d := &desk{T: t, top: newTop(s), link: link}
		d.seed()
		f(d)
	})
}

func (d *desk) seed() {
	ctx := d.Context()
	mux := millhand.NewMux()
	mux.HandleFunc("email", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		if j.ID == "bounced" {
			return nil, millhand.Permanent(errors.New("no such mailbox"))
		}
		return nil, millhand.Permanent(fmt.Errorf("450 4.7.1 greylisted, try again in %d s", len(j.ID)))
	})
	w, err := millhand.NewWorker(d.base.nc, millhand.WorkerConfig{Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)}, Mux: mux, NoStats: true, DrainTimeout: -1})
	if err != nil {
		d.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(run) }) // nothing is asked of its end
	for _, id := range []string{"welcome-1", "welcome-22", "bounced"} {
		d.enqueue("email", id)
		time.Sleep(20 * time.Second) // so that they die in this order
	}
	stop()
	wg.Wait()
	for i := range 3 {
		d.enqueue("import", fmt.Sprintf("file-%d", i+1))
		time.Sleep(time.Second)
	}
	d.enqueue("import", "tomorrow", millhand.WithDelay(24*time.Hour))
	if err := d.base.client.SetQuota(ctx, millhand.Quota{Type: "import", Limit: 5}); err != nil {
		d.Fatal(err)
	}
	time.Sleep(5 * time.Minute)
}

func (d *desk) enqueue(typ, id string, opts ...millhand.EnqueueOption) {
	d.Helper()
	if _, err := d.base.client.Enqueue(d.Context(), millhand.Raw{Name: typ, Payload: []byte(`{"of":"` + id + `"}`)}, append(opts, millhand.WithID(id))...); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) load(sc console.Screen) *console.Page {
	d.Helper()
	p, err := d.Load(d.Context(), sc)
	if err != nil {
		d.Fatalf("%+v: %v", sc, err)
	}
	return p
}

// do does something to rows of a screen, with what is typed, and returns what the console says then.
func (d *desk) do(o console.Op, sc console.Screen, value string, names ...string) string {
	d.Helper()
	operation := console.Operation{Op: o, Screen: sc, Names: names}
	p, err := d.Plan(d.Context(), operation)
	if err == nil && p.Prompt != "" {
		operation.Value = &value
		p, err = d.Plan(d.Context(), operation)
	}
	if err != nil {
		return "plan: " + err.Error()
	}
	text, err := p.Act(d.Context(), func(string) {})
	if err != nil {
		return p.Title + ": " + text + "; error: " + err.Error()
	}
	return p.Title + ": " + text
}

// The frames of a seeded broker, as they are seen. -update writes them.
func TestTopFrames(t *testing.T) {
	inDesk(t, func(d *desk) {
		for _, sc := range []struct {
			name string
			console.Screen
		}{
			{"overview", console.Screen{}},
			{"queue", console.Screen{Kind: console.Queue, Of: "default"}},
			{"type", console.Screen{Kind: console.Type, Of: "import"}},
			{"jobs", console.Screen{Kind: console.Jobs, Filter: "state:ready,scheduled,dead"}},
			{"dead", console.Screen{Kind: console.Dead}},
			{"limits", console.Screen{Kind: console.Limits}},
			{"why", console.Screen{Kind: console.Why, Of: "default/import/"}},
		} {
			p := d.load(sc.Screen)
			for _, size := range []struct {
				width, height int
				colors        bool
			}{{80, 24, false}, {80, 24, true}, {120, 40, false}, {120, 40, true}} {
				name := fmt.Sprintf("%s-%dx%d", sc.name, size.width, size.height)
				if size.colors {
					name += "-colors"
				}
				checkGolden(d.T, name, console.Draw(sc.Screen, p, size.width, size.height, size.colors))
			}
		}
	})
}

// checkGolden compares a frame with the one that was kept. Escapes are kept as \e, which can be read.
func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	got = strings.TrimRight(strings.ReplaceAll(got, "\x1b", `\e`), "\n") + "\n"
	file := filepath.Join("testdata", "top", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s is another one; with -update it is written:\n%s", file, d)
	}
}

// Operations do what the commands do, in their words, and are in the audit.
func TestTopOperations(t *testing.T) {
	inDesk(t, func(d *desk) {
		jobs, dead := console.Screen{Kind: console.Jobs}, console.Screen{Kind: console.Dead}
		group := ""
		for _, r := range d.load(dead).Rows {
			if strings.Contains(r.Cells[len(r.Cells)-1].Text, "greylisted") {
				group = r.Name
			}
		}
		for _, tt := range []struct {
			op    console.Op
			sc    console.Screen
			value string
			names []string
			want  string
		}{
			{console.Pause, console.Screen{}, "database move", []string{"default"}, "pause default: default: paused"},
			{console.Pause, console.Screen{}, "", []string{"default"}, "resume default: default: resumed"},
			{console.Pause, console.Screen{Kind: console.Types}, "", []string{"default/import"}, "pause default/import: default/import: paused"},
			{console.Limit, console.Screen{Kind: console.Limits}, "8", []string{"quota import"}, "set the quota of import to 8: import: 8 at once, was 5 at once"},
			{console.Limit, console.Screen{Kind: console.Types}, "x", []string{"default/import"}, `set the quota of import to x: ; error: "x" is no limit: want a whole number up to 1000000, or 0 to remove it`},
			{console.RunNow, jobs, "", []string{"default/import/tomorrow"}, "start 1 job: default/import/tomorrow: runs now, and not at 11-30 14:01"},
			{console.RunNow, jobs, "", []string{"default/import/tomorrow"}, "start 1 job: default/import/tomorrow: is due already: it waits for a worker, or runs"},
			{console.Cancel, jobs, "", []string{"default/import/file-1"}, "cancel 1 job: default/import/file-1: cancelled before it started"},
			{console.Cancel, jobs, "", []string{"default/import/file-1"}, "cancel 1 job: ; error: default/import/file-1: has ended already: cancelled"},
			{console.Cancel, jobs, "", []string{"default/import/file-1", "default/import/file-2"}, "cancel 2 jobs: ; error: done with 1 of 2 jobs: already_ended 1"},
			{console.Retry, jobs, "", []string{"default/import/file-3"}, "retry 1 dead job: ; error: default/import/file-3: is not dead: it is ready"},
			{console.Retry, dead, "", []string{group}, "retry 2 dead jobs: retried 2 dead jobs in 0ms"},
			{console.Retry, dead, "", []string{group}, "plan: no job matches any more: nothing to do"},
			{console.Delete, jobs, "", []string{"default/email/bounced"}, "remove 1 dead job for good: removed 1 dead job in 0ms"},
			{console.Drain, console.Screen{Kind: console.Workers}, "", []string{"web-9"}, `plan: no worker "web-9"; 'millhand workers' has those there are`},
		} {
			if got := d.do(tt.op, tt.sc, tt.value, tt.names...); got != tt.want {
				d.Errorf("%s of %v: %q, want %q", tt.op, tt.names, got, tt.want)
			}
			time.Sleep(2 * time.Second) // the broker makes jobs ready whose time has come
		}
		n := 0
		for r, err := range d.base.audit.Since(d.Context(), time.Time{}) {
			if n++; err != nil || r.By != "oncall" {
				d.Errorf("%+v, %v, want it by oncall", r, err)
			}
		}
		if want := 10; n != want { // all but those that were refused
			d.Errorf("%d records in the audit, want %d", n, want)
		}
	})
}

// An operation on many that is stopped says what was done by then, and has its end in the audit.
func TestTopStops(t *testing.T) {
	inDesk(t, func(d *desk) {
		p, err := d.Plan(d.Context(), console.Operation{Op: console.Delete, Screen: console.Screen{Kind: console.Dead}, Names: []string{"d2a8b581"}})
		if err != nil {
			d.Fatal(err)
		}
		stopped, stop := context.WithCancel(d.Context())
		stop()
		text, err := p.Act(stopped, func(string) {})
		if want := "removed 0 dead jobs in 0ms; stopped, the rest is as it was"; text != want || err != nil {
			d.Errorf("%q, %v, want %q", text, err, want)
		}
		for r, err := range d.base.audit.Since(d.Context(), time.Time{}) {
			if err != nil || r.Outcome != audit.Interrupted {
				d.Errorf("in the audit: %+v, %v", r, err)
			}
		}
		if n := len(d.load(console.Screen{Kind: console.Dead}).Rows); n != 2 {
			d.Errorf("%d groups are left, want 2", n)
		}
	})
}

// A broker that is gone is said to be, and is there again by itself.
func TestTopSurvivesItsBroker(t *testing.T) {
	inDesk(t, func(d *desk) {
		d.link.Down()
		d.link.Cut()
		time.Sleep(time.Second)
		for _, sc := range []console.Screen{{}, {Kind: console.Jobs}, {Kind: console.Workers}} {
			if _, err := d.Load(d.Context(), sc); !errors.Is(err, console.ErrNoBroker) {
				d.Errorf("%+v without a broker: %v", sc, err)
			}
		}
		if _, err := d.Plan(d.Context(), console.Operation{Op: console.Pause, Names: []string{"default"}}); !errors.Is(err, console.ErrNoBroker) {
			d.Errorf("an operation without a broker: %v", err)
		}
		d.link.Up()
		time.Sleep(10 * time.Second)
		if p := d.load(console.Screen{}); len(p.Rows) != 1 {
			d.Errorf("after it is back: %+v", p)
		}
		d.link.Hold() // it is connected, and nothing comes
		if _, err := d.Load(d.Context(), console.Screen{}); !errors.Is(err, console.ErrNoBroker) {
			d.Errorf("without an answer: %v", err)
		}
		d.link.Release()
	})
}

// Filters are those of the command. What a screen cannot tell is refused.
func TestTopFilters(t *testing.T) {
	inDesk(t, func(d *desk) {
		for _, tt := range []struct {
			sc   console.Screen
			rows int
			want string // an error
		}{
			{console.Screen{Kind: console.Jobs}, 7, ""},
			{console.Screen{Kind: console.Jobs, Filter: "type:import state:ready"}, 3, ""},
			{console.Screen{Kind: console.Jobs, Filter: "file-2"}, 1, ""},
			{console.Screen{Kind: console.Jobs, Filter: "stat:ready"}, 0, `unknown key "stat"; did you mean state?`},
			{console.Screen{Kind: console.Dead, Filter: "error:mailbox"}, 1, ""},
			{console.Screen{Kind: console.Dead, Filter: "state:dead"}, 0, "these are dead all"},
			{console.Screen{Kind: console.Types, Filter: "type:imp*"}, 1, ""},
			{console.Screen{Kind: console.Types, Filter: "EMAIL"}, 1, ""},
			{console.Screen{Kind: console.Queues, Filter: "-queue:default"}, 0, ""},
			{console.Screen{Kind: console.Queues, Filter: "attempt:>3"}, 0, "this screen is narrowed by queue:, type:, worker:"},
			{console.Screen{Kind: console.Events, Filter: "payload:x"}, 0, "an event has none"},
		} {
			p, err := d.Load(d.Context(), tt.sc)
			switch checked := d.Check(tt.sc); {
			case (checked == nil) != (err == nil), tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				d.Errorf("%+v: %v and %v, want %q", tt.sc, err, checked, tt.want)
			case err == nil && len(p.Rows) != tt.rows:
				d.Errorf("%+v: %d rows, want %d", tt.sc, len(p.Rows), tt.rows)
			}
		}
	})
}
