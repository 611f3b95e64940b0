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
		i := slices.IndexFunc(tree.Children, func(p Part) bool { return p.Name == "queue default" })
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
