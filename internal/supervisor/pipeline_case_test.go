package supervisor

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// playScraper crashes a producer whose consumers crash with it. It shows why the tree of a pipeline
// is rest_for_one.
func playScraper(t *testing.T, c testCase) {
	expect := decode[struct {
		Rows []struct {
			Strategy  string
			Consumers int
			Alive     bool `json:"supervisor_alive"`
		}
	}](t, c.Expect)
	for _, row := range expect.Rows {
		w := newWorld(t)
		s := decode[setup](t, []byte(`{"max_restarts":3,"max_seconds":5}`))
		s.Strategy = row.Strategy
		spec := w.spec("scraper", s)
		var producer chan struct{} // closed when the producer is gone
		crash := make(chan struct{})
		spec.Children = []Child{{Name: "producer", RunReady: func(ctx context.Context, ready func()) error {
			gone := make(chan struct{})
			producer = gone
			defer close(gone)
			ready()
			select {
			case <-crash:
				return errBoom
			case <-ctx.Done():
				return nil
			}
		}}}
		for i := range row.Consumers {
			spec.Children = append(spec.Children, Child{Name: fmt.Sprint("consumer ", i), RunReady: func(ctx context.Context, ready func()) error {
				subscription := producer
				ready()
				select {
				case <-subscription:
					time.Sleep(time.Millisecond) // the news travels to the supervisor first
					return errors.New("producer is gone")
				case <-ctx.Done():
					return nil
				}
			}})
		}
		sup, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		r := start(t, sup)
		crash <- struct{}{}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := !r.ended(); got != row.Alive {
			t.Errorf("%s, %d consumers: alive = %t, want %t", row.Strategy, row.Consumers, got, row.Alive)
		}
		_ = r.end()
	}
}

func playConsumerFirst(t *testing.T, c testCase) {
	expect := decode[struct {
		StartError struct {
			Child string `json:"failed_child"`
		} `json:"start_error"`
	}](t, c.Expect)
	errNoProc := errors.New("noproc")
	produces := false
	sup, err := New(Spec{Name: "sup", Children: []Child{
		{Name: expect.StartError.Child, RunReady: func(_ context.Context, ready func()) error {
			if !produces {
				return errNoProc
			}
			ready()
			return nil
		}},
		{Name: "p", Run: func(context.Context) error {
			produces = true
			return nil
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	err = sup.Run(t.Context())
	failed, ok := errors.AsType[*StartError](err)
	if !ok || failed.Child != expect.StartError.Child || !errors.Is(err, errNoProc) {
		t.Errorf("Run = %v, want %v from %s", err, errNoProc, expect.StartError.Child)
	}
	if produces {
		t.Error("the producer was started after the consumer failed")
	}
}
