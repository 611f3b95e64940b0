package millhand_test

import (
	"context"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// However many clients a program makes, what they leave on the connection is one subscription.
func TestClientsShareWhatTheyKeepOnAConnection(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		succeed := func(c *millhand.Client) {
			if _, err := c.Enqueue(t.Context(), email{}); err != nil {
				t.Fatal(err)
			}
		}
		succeed(client(t, nc))
		subs, goroutines := nc.NumSubscriptions(), len(goroutinesHere())
		for range 500 {
			succeed(client(t, nc))
		}
		if n := nc.NumSubscriptions() - subs; n != 0 {
			t.Errorf("500 clients left %d subscriptions", n)
		}
		if n := len(goroutinesHere()) - goroutines; n > 10 {
			t.Errorf("500 clients left %d goroutines", n)
		}
	})
}

// Clients that are closed leave nothing, and what is closed goes on if it is used again.
func TestClosedClientsLeaveNothing(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		other := client(t, s.Connect(t))
		clients := []*millhand.Client{client(t, nc), client(t, nc)}
		before := nc.NumSubscriptions()
		use := func() {
			for _, c := range clients {
				if _, err := c.Enqueue(t.Context(), email{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		use()
		clients[0].Close()
		clients[0].Close()
		use()
		clients[1].Close()
		time.Sleep(time.Second)
		// The client's own requests have one of nats.go, which stays.
		if n := nc.NumSubscriptions() - before; n > 1 {
			t.Errorf("%d subscriptions are left", n)
		}
		use()
		if _, err := other.Enqueue(t.Context(), email{}); err != nil {
			t.Fatal(err)
		}
	})
}

// A program that makes a client for each of its requests closes the last one of the moment while
// the next is being made.
func TestClientsOfAMomentDoNotDisturbEachOther(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		nc := s.Connect(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 300 {
					c, err := millhand.NewClient(nc, millhand.Config{})
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := c.Enqueue(t.Context(), email{}); err != nil {
						t.Errorf("enqueue: %v", err)
						return
					}
					c.Close()
				}
			})
		}
		wg.Wait()
	})
}

// A worker that has stopped leaves nothing either, however busy it was.
func TestStoppedWorkersLeaveNothing(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		nc := s.Connect(t)
		round := func() {
			mux := millhand.NewMux()
			millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
			if _, err := c.EnqueueMany(t.Context(), emails(500)); err != nil {
				t.Fatal(err)
			}
			_, stop := start(t, nc, millhand.WorkerConfig{Mux: mux, Concurrency: 100})
			time.Sleep(10 * time.Second)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
		}
		round()
		time.Sleep(time.Minute)
		subs, goroutines := nc.NumSubscriptions(), len(goroutinesHere())
		for range 10 {
			round()
		}
		time.Sleep(time.Minute)
		if n := nc.NumSubscriptions(); n > subs || n > 1 {
			t.Errorf("%d subscriptions are left after ten more workers, %d before", n, subs)
		}
		if now := goroutinesHere(); len(now)-goroutines > 5 {
			t.Errorf("ten workers left %d goroutines, which are among\n%s", len(now)-goroutines, strings.Join(now, "\n\n"))
		}
	})
}

// goroutinesHere are the stacks of the goroutines in the bubble of the caller: what tests before it left elsewhere, which may begin
// something meanwhile, is not among them.
func goroutinesHere() (all []string) {
	bubble := regexp.MustCompile(`^goroutine \d+ \[.*(synctest bubble \d+)`)
	own := make([]byte, 1<<10)
	here := bubble.FindSubmatch(own[:runtime.Stack(own, false)])
	if here == nil {
		panic("not in a bubble")
	}
	every := make([]byte, 16<<20)
	for stack := range strings.SplitSeq(string(every[:runtime.Stack(every, true)]), "\n\n") {
		if of := bubble.FindStringSubmatch(stack); of != nil && of[1] == string(here[1]) {
			all = append(all, stack)
		}
	}
	return all
}
