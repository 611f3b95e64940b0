package millhand_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

func TestLoggerOfAJob(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		mux := millhand.NewMux()
		mux.Use(func(next millhand.HandlerFunc) millhand.HandlerFunc {
			return func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
				if j.ID == "traced" {
					j.TraceRun("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", nil)
				}
				return next(ctx, j)
			}
		})
		mux.HandleFunc("email", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			j.Logger().InfoContext(ctx, "sent")
			return []byte(j.Worker()), nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Config: millhand.Config{Logger: logger}, Mux: mux})
		c := client(t, s.Connect(t))
		for _, tt := range []struct{ id, trace string }{
			{"plain", ""},
			{"traced", " trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331"},
		} {
			ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "email"}, millhand.WithID(tt.id))
			if err != nil {
				t.Fatal(err)
			}
			info, err := c.Await(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("level=INFO msg=sent queue=default type=email id=%s life=%s attempt=1 worker=%s%s\n", tt.id, ref.Life, info.Output(), tt.trace)
			if !strings.Contains(log.String(), want) {
				t.Errorf("logged\n%s, want\n%s", log.String(), want)
			}
		}
	})
}
