package millhand_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/worker"
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
		e := millhand.Cron{Name: "e", Schedule: "* * * * *", Args: millhand.Raw{Name: "report"}, Overlap: millhand.AllowOverlap}
		if err := c.PutCron(ctx, e); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12*time.Minute + 30*time.Second)
		want, err := e.Next(begun, 12)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if len(ran) != 12 {
			t.Errorf("ran %v, want %v", ran, want)
		}
		mu.Unlock()
		if got, ok := ran["e-"+strconv.FormatInt(want[0].Unix(), 10)]; !ok || !got.Equal(want[0]) {
			t.Errorf("the first tick ran as %v", got)
		}
		infos, err := c.Crons(ctx)
		if err != nil || len(infos) != 1 || !infos[0].LastTick.Equal(want[11]) || !infos[0].NextTick.Equal(want[11].Add(time.Minute)) || infos[0].Missed+infos[0].Skipped != 0 {
			t.Errorf("crons: %+v, %v", infos, err)
		}
		// Put again as it was shown, it is no change, so that the tick ahead stays.
		if err := c.PutCron(ctx, infos[0].Cron); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		if len(ran) != 13 {
			t.Errorf("ran %v after the entry was put again", ran)
		}
		mu.Unlock()
		// While it is paused nothing comes, and nothing of that comes later.
		js, err := stream.New(s.Connect(t), stream.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		r := registry.NewStore(js, slog.New(slog.DiscardHandler))
		if err := worker.PauseCron(ctx, r, queue.NewStore(js, queue.Config{Logger: slog.New(slog.DiscardHandler)}), "e", "flood"); err != nil {
			t.Error(err)
		}
		time.Sleep(4 * time.Minute)
		if infos, err := c.Crons(ctx); err != nil || len(infos) != 1 || !infos[0].NextTick.IsZero() {
			t.Errorf("crons while it is paused: %+v, %v", infos, err)
		}
		if err := r.ResumeCron(ctx, "e"); err != nil {
			t.Error(err)
		}
		time.Sleep(70 * time.Second)
		mu.Lock()
		if len(ran) != 14 {
			t.Errorf("ran %v after the entry was paused and resumed, want one more", ran)
		}
		mu.Unlock()
		if err := c.DeleteCron(ctx, "e"); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		mu.Lock()
		if len(ran) != 14 {
			t.Errorf("ran %v after the entry was removed", ran)
		}
		mu.Unlock()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A tick that waited too long, here in a paused queue, is missed unless the entry catches up.
func TestLateTicksAreMissed(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c, err := millhand.NewClient(s.Connect(t), millhand.Config{})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		ran := make(map[string]int)
		mux := millhand.NewMux()
		mux.HandleFunc("report", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			ran[j.ID[:3]]++
			return nil, nil
		}, millhand.TypeConfig{})
		var crons []millhand.Cron
		for _, catchUp := range []millhand.CatchUp{millhand.CatchUpSkip, millhand.CatchUpOne, millhand.CatchUpAll} {
			crons = append(crons, millhand.Cron{Name: string(catchUp) + "-10m", Schedule: "*/10 * * * *", Args: millhand.Raw{Name: "report"}, Overlap: millhand.AllowOverlap, CatchUp: catchUp})
		}
		w, err := millhand.NewWorker(s.Connect(t), millhand.WorkerConfig{Mux: mux, Crons: crons})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Minute)
		if err := c.Pause(ctx, "default"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(32 * time.Minute) // three ticks, the last of which is three minutes late
		if err := c.Resume(ctx, "default"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		if ran["ski"] != 0 || ran["one"] != 1 || ran["all"] != 3 {
			t.Errorf("ran %v", ran)
		}
		mu.Unlock()
		missed := 0
		for _, at := range []int64{600, 1200, 1800} {
			info, err := c.Get(ctx, millhand.Ref{ID: "skip-10m-" + strconv.FormatInt(946684800+at, 10), Type: "report", Queue: "default"})
			if err == nil && info.State == millhand.Cancelled && info.Reason == millhand.ReasonMissed {
				missed++
			}
		}
		if missed != 3 {
			t.Errorf("%d ticks are missed", missed)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
