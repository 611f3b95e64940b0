package millhand_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// At the default level the log has no line of a run that is tried again. That many fail is a problem, which
// has one warning of all workers when it begins, and a line when it is over.
func TestLogLevels(t *testing.T) {
	var out bytes.Buffer
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		log := slog.New(slog.NewTextHandler(&out, nil))
		for _, name := range []string{"a", "b"} {
			mux := millhand.NewMux()
			mux.HandleFunc("email", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
				if j.Attempt == 1 {
					return nil, errors.New("no route")
				}
				return nil, nil
			}, millhand.TypeConfig{Backoff: millhand.Backoff{Initial: time.Second}})
			start(t, s.Connect(t), millhand.WorkerConfig{Config: millhand.Config{Logger: log}, Name: name, Mux: mux, Concurrency: 2})
		}
		c := client(t, s.Connect(t))
		for range 30 {
			if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "email"}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Minute)
	})
	attr := regexp.MustCompile(`(?:level|msg|code|subject|text)=(?:"[^"]*"|\S+)`)
	var got []string
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "problem") || strings.Contains(line, "run") {
			got = append(got, strings.Join(attr.FindAllString(line, -1), " "))
		}
	}
	want := []string{
		`level=WARN msg="a problem has begun" code=failing subject=email text="email: 30 of 60 runs failed in 10 min (50 %)"`,
		`level=INFO msg="a problem is over" code=failing subject=email`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s\n%s", diff, &out)
	}
}
