package supervisor

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"
)

func TestTreeAsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := NewDynamic(DynamicSpec{Name: "runner"})
		if err != nil {
			t.Fatal(err)
		}
		crash := make(chan struct{})
		s := mustNew(t, Spec{Name: "worker", Strategy: RestForOne, Children: []Child{
			{Name: "broker", Run: untilStopped},
			{Name: "renewer", Run: func(ctx context.Context) error {
				select {
				case <-crash:
					return errBoom
				case <-ctx.Done():
					return nil
				}
			}},
			{Name: "runner", Part: d},
		}})
		start(t, s)
		time.Sleep(time.Second)
		crash <- struct{}{}
		synctest.Wait()
		if err := d.Start(Child{Name: "job", Run: untilStopped}); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(s.Tree())
		if err != nil {
			t.Fatal(err)
		}
		want := `{"name":"worker","kind":"supervisor","state":"running","restarts":0,"since":"2000-01-01T00:00:00Z","children":[` +
			`{"name":"broker","kind":"child","state":"running","restarts":0,"since":"2000-01-01T00:00:00Z"},` +
			`{"name":"renewer","kind":"child","state":"running","restarts":1,"last_error":"boom","since":"2000-01-01T00:00:01Z"},` +
			`{"name":"runner","kind":"dynamic","state":"running","restarts":1,"since":"2000-01-01T00:00:01Z","children":[` +
			`{"name":"job","kind":"child","state":"running","restarts":0,"since":"2000-01-01T00:00:01Z"}]}]}`
		if got := string(text); got != want {
			t.Errorf("tree = %s\nwant   %s", got, want)
		}
	})
}

// The tree can be looked at while the supervisor waits for a child.
func TestTreeDuringAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Spec{Children: []Child{{Name: "stuck", Run: stubborn, StopTimeout: 2 * time.Hour}}})
		r := start(t, s)
		r.stop(nil)
		synctest.Wait()
		if got := s.Tree().Children[0].State; got != StateStopping {
			t.Errorf("state = %s, want %s", got, StateStopping)
		}
	})
}
