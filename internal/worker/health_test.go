package worker_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/supervisor"
	"github.com/millhand/millhand/internal/worker"
)

// A part that fails again and again takes its supervisor with it. The log tells each step
// in a line, and that a supervisor gives up before what follows from it.
func TestGivingUpIsTold(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var log bytes.Buffer
		f := newFaults()
		w := newWorker(t, s.Connect(t), worker.Config{
			Types: handled(idle, "work"), Logger: slog.New(slog.NewTextHandler(&log, nil)), Instrument: f.instrument,
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Second)
		for range 11 { // one more than its supervisor puts up with in a minute
			f.kill(t, "unhandled")
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		tree := w.Health().Tree
		i := slices.IndexFunc(tree.Children, func(p supervisor.Node) bool { return p.Name == "queue default" })
		if p := tree.Children[i]; p.State != "running" || p.Restarts != 1 || !strings.Contains(p.LastError, "killed by the test") {
			t.Errorf("queue = %+v, want it restarted once, because of its part", p)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}

		var lines []string
		for line := range strings.Lines(log.String()) {
			_, line, _ = strings.Cut(line, "msg=")
			if strings.Contains(line, "gave up") || strings.Contains(line, "restarting") {
				lines = append(lines, line)
			}
		}
		if len(lines) != 12 {
			t.Fatalf("%d lines, want 12:\n%s", len(lines), strings.Join(lines, ""))
		}
		for i, wants := range [][]string{
			{`"child restarting"`, `supervisor="queue default"`, "child=unhandled", `err="killed by the test"`, "restarts=1 ", "strategy=one_for_one", "group=[unhandled]"},
			10: {`"supervisor gave up"`, `supervisor="queue default"`, "child=unhandled", "killed by the test"},
			11: {`"child restarting"`, `supervisor=worker`, `child="queue default"`, "killed by the test", "restarts=1 ", "strategy=rest_for_one", `group="[queue default ticker]"`},
		} {
			for _, want := range wants {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %d is %s\nwant %s in it", i, lines[i], want)
				}
			}
		}
	})
}

// A part that does not stop in time is given up, told in the log with its stack, and counted for as long as it runs.
func TestAbandonedPartIsShown(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var log bytes.Buffer
		f, end := newFaults(), make(chan struct{})
		hanging := func(c supervisor.Child) supervisor.Child {
			if c.Name == "unhandled" {
				c.Run = func(ctx context.Context) error {
					<-end // whatever its context says
					<-ctx.Done()
					return nil
				}
			}
			return f.instrument(c)
		}
		w := newWorker(t, s.Connect(t), worker.Config{
			Types: handled(idle, "work"), Logger: slog.New(slog.NewTextHandler(&log, nil)), Instrument: hanging,
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Second)
		f.kill(t, "queue default")
		time.Sleep(time.Second)
		queue := func() supervisor.Node {
			tree := w.Health().Tree
			return tree.Children[slices.IndexFunc(tree.Children, func(p supervisor.Node) bool { return p.Name == "queue default" })]
		}
		if p := queue(); p.Abandoned != 1 || p.State != "running" {
			t.Errorf("queue = %+v, want it running, with one goroutine given up", p)
		}
		close(end)
		time.Sleep(time.Second)
		if p := queue(); p.Abandoned != 0 {
			t.Errorf("queue = %+v, want nothing of the one that came back", p)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
		for _, want := range []string{
			`level=ERROR msg="child abandoned"`, `child=unhandled err="queue default: unhandled: stop timeout expired"`, "TestAbandonedPartIsShown",
			`msg="abandoned child returned"`,
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, &log)
			}
		}
	})
}
