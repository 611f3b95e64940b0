package millhand

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
)

// A part that fails again and again takes its supervisor with it. The log tells each step
// in a line, and that a supervisor gives up before what follows from it.
func TestGivingUpIsTold(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var log bytes.Buffer
		f := newFaults()
		mux := NewMux()
		mux.HandleFunc("work", func(context.Context, *Job[Raw]) ([]byte, error) { return nil, nil })
		w, err := newWorker(s.Connect(t), WorkerConfig{
			Mux: mux, Config: Config{Logger: slog.New(slog.NewTextHandler(&log, nil))},
		}, f.instrument)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Second)
		for range 11 { // one more than its supervisor puts up with in a minute
			f.kill(t, "census")
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		tree := w.Health().Tree
		i := slices.IndexFunc(tree.Children, func(p TreeNode) bool { return p.Name == "queue default" })
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
			{`"child restarting"`, `supervisor="queue default"`, "child=census", `err="killed by the test"`, "restarts=1 ", "strategy=one_for_one", "group=[census]"},
			10: {`"supervisor gave up"`, `supervisor="queue default"`, "child=census", "killed by the test"},
			11: {`"child restarting"`, `supervisor=worker`, `child="queue default"`, "killed by the test", "restarts=1 ", "strategy=rest_for_one", `group="[queue default]"`},
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
		mux := NewMux()
		mux.HandleFunc("work", func(context.Context, *Job[Raw]) ([]byte, error) { return nil, nil })
		w, err := newWorker(s.Connect(t), WorkerConfig{
			Mux: mux, Config: Config{Logger: slog.New(slog.NewTextHandler(&log, nil))},
		}, func(c supervisor.Child) supervisor.Child {
			if c.Name == "census" {
				c.Run = func(ctx context.Context) error {
					<-end // whatever its context says
					<-ctx.Done()
					return nil
				}
			}
			return f.instrument(c)
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Second)
		f.kill(t, "queue default")
		time.Sleep(time.Second)
		queue := func() TreeNode {
			tree := w.Health().Tree
			return tree.Children[slices.IndexFunc(tree.Children, func(p TreeNode) bool { return p.Name == "queue default" })]
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
			`level=ERROR msg="child abandoned"`, `child=census err="queue default: census: stop timeout expired"`, "TestAbandonedPartIsShown",
			`msg="abandoned child returned"`,
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, &log)
			}
		}
	})
}

// Jobs that hang take all slots and say nothing: the one that runs for longest tells of them.
func TestHealthShowsTheOldestRunningJob(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		release := make(chan struct{})
		mux := NewMux()
		mux.HandleFunc("hang", func(context.Context, *Job[Raw]) ([]byte, error) {
			<-release
			return nil, nil
		})
		w, err := NewWorker(s.Connect(t), WorkerConfig{Mux: mux, Concurrency: 4})
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewClient(s.Connect(t), Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Minute)
		if got := w.Health().Oldest; got != nil {
			t.Errorf("oldest of none = %+v", got)
		}
		begin := time.Now()
		for _, id := range []string{"first", "second", "third"} {
			if _, err := c.Enqueue(t.Context(), Raw{Name: "hang"}, WithID(id), WithQueue("default")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		got := w.Health().Oldest
		if got == nil || got.ID != "first" || got.Type != "hang" || got.Queue != "default" ||
			got.Since.Sub(begin) > 5*time.Second || got.Since.Before(begin) {
			t.Errorf("oldest = %+v, want the first, since %v", got, begin)
		}
		close(release)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}
