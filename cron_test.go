package millhand_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

func TestCronEndToEnd(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c, err := millhand.NewClient(s.Connect(t), millhand.Config{})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		ran := make(map[string]time.Time)
		mux := millhand.NewMux()
		mux.HandleFunc("report", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			ran[j.ID] = j.Tick
			return nil, nil
		}, millhand.TypeConfig{})
		w, err := millhand.NewWorker(s.Connect(t), millhand.WorkerConfig{Mux: mux})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		begun := time.Now()
		e := millhand.Cron{Name: "e", Schedule: "*/5 * * * *", Args: millhand.Raw{Name: "report"}, Overlap: millhand.AllowOverlap}
		if err := c.PutCron(ctx, e); err != nil {
			t.Fatal(err)
		}
		time.Sleep(62 * time.Minute)
		want, err := e.Next(begun, 12)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if len(ran) != 12 {
			t.Errorf("ran %v, want %v", ran, want)
		}
		mu.Unlock()
		infos, err := c.Crons(ctx)
		t.Logf("%+v %v", infos, err)
		cancel()
		<-ended
	})
}
