package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A list tells jobs that run from those that wait for a worker, if it is asked to.
func TestJobsByState(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux, release := millhand.NewMux(), make(chan struct{})
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error {
			<-release
			return nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 1})
		defer close(release)
		c := client(t, s.Connect(t))
		enqueue := func(id string, opts ...millhand.EnqueueOption) {
			t.Helper()
			if _, err := c.Enqueue(t.Context(), email{}, append(opts, millhand.WithID(id))...); err != nil {
				t.Fatal(err)
			}
		}
		enqueue("runs")
		time.Sleep(time.Second)
		enqueue("waits")
		enqueue("later", millhand.WithDelay(time.Hour))
		for _, tt := range []struct {
			states []millhand.State
			want   []string
		}{
			{nil, []string{"runs ready", "waits ready", "later scheduled"}},
			{[]millhand.State{millhand.Running}, []string{"runs running"}},
			{[]millhand.State{millhand.Ready}, []string{"waits ready"}},
			{[]millhand.State{millhand.Ready, millhand.Running}, []string{"runs ready", "waits ready"}},
			{[]millhand.State{millhand.Running, millhand.Scheduled}, []string{"runs running", "later scheduled"}},
			{[]millhand.State{millhand.Retrying}, nil},
		} {
			var got []string
			for info, err := range c.Jobs(t.Context(), millhand.JobFilter{Type: "email", States: tt.states}) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprint(info.ID, " ", info.State))
				if (info.Worker != "") != (info.State == millhand.Running) {
					t.Errorf("%v: worker %q of a job that is %s", tt.states, info.Worker, info.State)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%v: %q, want %q", tt.states, got, tt.want)
			}
		}
		for name, f := range map[string]millhand.JobFilter{
			"queue": {Queue: "event"}, "type": {Type: "a.b"}, "end": {States: []millhand.State{millhand.Succeeded}}, "state": {States: []millhand.State{"waiting"}},
		} {
			for info, err := range c.Jobs(t.Context(), f) {
				if !errors.Is(err, millhand.ErrInvalid) {
					t.Errorf("bad %s: %+v, %v", name, info, err)
				}
			}
		}
	})
}
