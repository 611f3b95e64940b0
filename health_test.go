package millhand_test

import (
	"context"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// Jobs that hang take all slots and say nothing: the one that runs for longest tells of them.
func TestHealthShowsTheOldestRunningJob(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		release := make(chan struct{})
		mux := millhand.NewMux()
		mux.HandleFunc("hang", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			<-release
			return nil, nil
		})
		w, _ := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 4})
		c := client(t, s.Connect(t))
		time.Sleep(time.Minute)
		if got := w.Health().Oldest; got != nil {
			t.Errorf("oldest of none = %+v", got)
		}
		begin := time.Now()
		for _, id := range []string{"first", "second", "third"} {
			if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "hang"}, millhand.WithID(id), millhand.WithQueue("default")); err != nil {
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
	})
}
