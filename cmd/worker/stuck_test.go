package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/natstest"
)

// Commands and URLs cannot get stuck, handlers in Go can: the process then ends, and its
// supervisor restarts it.
func TestTooManyStuckHandlersExitOne(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		end := make(chan struct{})
		mux := millhand.NewMux()
		mux.HandleFunc("hang", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			<-end
			return nil, nil
		}, millhand.TypeConfig{Timeout: time.Minute, MaxAttempts: 1})
		var out, log bytes.Buffer
		cfg := millhand.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		nc := s.Connect(t)
		p := &process{
			log: cfg.Logger, remote: true, connect: func(context.Context) (*nats.Conn, error) { return nc, nil },
			config: millhand.WorkerConfig{
				Config: cfg, Mux: mux, Concurrency: 2, MaxAbandoned: 2,
			},
		}
		c, err := millhand.NewClient(s.Connect(t), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "hang"}); err != nil {
				t.Fatal(err)
			}
		}
		root := &cobra.Command{Use: "worker", RunE: func(cmd *cobra.Command, _ []string) error {
			return p.run(cmd.Context())
		}}
		if code := cli.Execute(t.Context(), root, nil, &out); code != cli.ExitRuntime {
			t.Errorf("exit code %d, want %d", code, cli.ExitRuntime)
		}
		if got := out.String(); !strings.HasPrefix(got, "worker: ") || strings.Count(got, "\n") != 1 {
			t.Errorf("stderr = %q, want one line", got)
		}
		synctest.Wait() // who is given up last may still be logged
		for _, want := range []string{
			"level=ERROR msg=\"handler ignores the end of its context: given up, its slot is free\"",
			"TestTooManyStuckHandlersExitOne", // where it hangs
			"too many handlers ignore the end of their context: draining for good",
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %q:\n%s", want, &log)
			}
		}
		close(end)
	})
}

// hangingMain is the command with one type more than it has, whose handler never returns.
func hangingMain() {
	os.Exit(execute(context.Background(), os.Args[1:], nil, os.Stdout, os.Stderr, func(m *millhand.Mux) {
		addBuiltin(m)
		m.HandleFunc("hang", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			select {}
		})
	}))
}
