package verify_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/verify"
	"github.com/millhand/millhand/internal/view"
)

// A look writes nothing, makes nothing, and asks for no more where more waits.
func TestLooksOnlyReadAndAreBounded(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hire(t, millhand.WorkerConfig{Concurrency: 2}, "wait", "fail")
		m.enqueue(t, 20, "fail", millhand.WithMaxAttempts(1))
		time.Sleep(10 * time.Second)

		link := s.Link()
		var mu sync.Mutex
		asked := make(map[string]int)
		link.Watch(func(subject string) natstest.Fate {
			mu.Lock()
			defer mu.Unlock()
			asked[subject]++
			return natstest.Pass
		})
		log := natstest.Logger(t.Output())
		nc := link.Connect(t)
		js, err := stream.New(nc, stream.Config{Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		store, reg := queue.NewStore(js, queue.Config{Logger: log}), registry.NewStore(js, log)
		m.cfg = verify.Config{Conn: nc, Client: js, Store: store, Registry: reg, View: view.New(view.Config{Client: js, Store: store, Registry: reg})}
		look := func() (total int) {
			synctest.Wait()
			mu.Lock()
			clear(asked)
			mu.Unlock()
			if got := violated(m.verify(t, verify.Options{})); len(got) > 0 {
				t.Errorf("violated %q", got)
			}
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			for subject, n := range asked {
				if !reads(subject) {
					t.Errorf("%d requests to %s", n, subject)
				}
				total += n
			}
			return total
		}
		m.enqueue(t, 2_000, "wait")
		few := look()
		m.enqueue(t, 4_000, "wait")
		many := look()
		if many > few+few/10 || many > 2_000 {
			t.Errorf("%d requests with 2,000 jobs, %d with 6,000", few, many)
		}
	})
}

// reads reports whether what is sent to a subject asks, and changes nothing.
func reads(subject string) bool {
	for _, of := range []string{
		"$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.", "$JS.API.CONSUMER.LIST.", "$JS.API.CONSUMER.INFO.",
		"$JS.API.DIRECT.GET.", "$JS.API.STREAM.MSG.GET.", "$JS.API.INFO", "millhand.control.running",
	} {
		if strings.HasPrefix(subject, of) {
			return true
		}
	}
	return false
}
