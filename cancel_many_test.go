package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A canceller is a client beside a worker of the type "work", whose handler does what the test says.
type canceller struct {
	*millhand.Client
	t      *testing.T
	server *natstest.Server
	handle func(ctx context.Context, j *millhand.Job[millhand.Raw]) error

	mu   sync.Mutex
	ran  []string // ids
	stop func() error
}

// inCanceller is a test with a worker that is not started yet.
func inCanceller(t *testing.T, handle func(context.Context, *millhand.Job[millhand.Raw]) error, f func(t *testing.T, c *canceller)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		f(t, &canceller{Client: client(t, s.Connect(t)), t: t, server: s, handle: handle})
	})
}

// cancelMany cancels what matches, and returns the ids of those that were gone, and of those that ran.
func (c *canceller) cancelMany(f millhand.JobFilter, opts ...millhand.CancelOption) (gone, told []string) {
	c.t.Helper()
	for done, err := range c.CancelMany(c.t.Context(), f, opts...) {
		switch {
		case err != nil:
			c.t.Fatalf("cancel %+v: %v", f, err)
		case done.Worker != "":
			told = append(told, done.ID)
		default:
			gone = append(gone, done.ID)
		}
	}
	slices.Sort(gone)
	slices.Sort(told)
	return gone, told
}

// alive returns the ids of what is in the queue.
func (c *canceller) alive() (ids []string) {
	c.t.Helper()
	for info, err := range c.Jobs(c.t.Context(), millhand.JobFilter{}) {
		if err != nil {
			c.t.Fatal(err)
		}
		ids = append(ids, info.ID)
	}
	slices.Sort(ids)
	return ids
}

// Of a filter, only what matches is cancelled: by type, by state, by when it is due.
func TestCancelManyByFilter(t *testing.T) {
	for _, tt := range []struct {
		filter     millhand.JobFilter
		gone, told []string
	}{
		{millhand.JobFilter{}, []string{"hour", "minute", "other", "ready", "retrying"}, []string{"runs"}},
		{millhand.JobFilter{Type: "other"}, []string{"other"}, nil},
		{millhand.JobFilter{States: []millhand.State{millhand.Ready}}, []string{"other", "ready"}, nil},
		{millhand.JobFilter{States: []millhand.State{millhand.Running}}, nil, []string{"runs"}},
		{millhand.JobFilter{States: []millhand.State{millhand.Scheduled}}, []string{"hour", "minute"}, nil},
		{millhand.JobFilter{States: []millhand.State{millhand.Retrying}}, []string{"retrying"}, nil},
		{millhand.JobFilter{States: []millhand.State{millhand.Scheduled}, DueBy: inBubble(10 * time.Minute)}, []string{"minute"}, nil},
		{millhand.JobFilter{Queue: "elsewhere"}, nil, nil},
	} {
		t.Run(fmt.Sprint(tt.filter), func(t *testing.T) {
			inCanceller(t, func(ctx context.Context, j *millhand.Job[millhand.Raw]) error {
				if j.ID == "retrying" {
					return millhand.RetryAfter(time.Hour, errors.New("boom"))
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Second):
				}
				return ctx.Err()
			}, func(t *testing.T, c *canceller) {
				c.work(millhand.WorkerConfig{Concurrency: 1})
				c.enqueue("retrying")
				time.Sleep(time.Second)
				c.enqueue("runs")
				time.Sleep(time.Second)
				c.enqueue("ready")
				c.enqueue("hour", millhand.WithDelay(time.Hour))
				c.enqueue("minute", millhand.WithDelay(time.Minute))
				if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "other"}, millhand.WithID("other")); err != nil {
					t.Fatal(err)
				}
				before := c.alive()
				gone, told := c.cancelMany(tt.filter)
				if !slices.Equal(gone, tt.gone) || !slices.Equal(told, tt.told) {
					t.Errorf("gone %v, told %v", gone, told)
				}
				if left := c.alive(); len(told) == 0 && len(left)+len(gone) != len(before) {
					t.Errorf("left %v", left)
				}
			})
		})
	}
}

// inBubble is a time after the beginning of every bubble.
func inBubble(d time.Duration) time.Time {
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(d)
}

// None starts from the first answer on, also those that were due meanwhile; what is enqueued later is
// none of its business.
func TestCancelManyOfManyJobs(t *testing.T) {
	inCanceller(t, func(context.Context, *millhand.Job[millhand.Raw]) error {
		time.Sleep(20 * time.Millisecond)
		return nil
	}, func(t *testing.T, c *canceller) {
		const jobs = 2000
		var batch []millhand.Request
		for i := range jobs {
			r := millhand.Request{Args: millhand.Raw{Name: "work"}}
			if i%4 == 0 {
				r.Options = []millhand.EnqueueOption{millhand.WithDelay(time.Duration(i) * time.Millisecond)}
			}
			batch = append(batch, r)
		}
		if _, err := c.EnqueueMany(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		c.work(millhand.WorkerConfig{Concurrency: 4})
		time.Sleep(time.Second)
		ran, cancelled := -1, 0
		for _, err := range c.CancelMany(t.Context(), millhand.JobFilter{Type: "work"}) {
			if err != nil {
				t.Fatal(err)
			}
			if ran < 0 {
				ran = c.runs()
				time.Sleep(time.Millisecond) // the bubble's clock stood still since the order
				c.enqueue("later")
			}
			cancelled++
		}
		time.Sleep(10 * time.Minute)
		if c.runs() != ran+1 || !c.didRun("later") {
			t.Errorf("%d ran, of which %d before the first answer", c.runs(), ran)
		}
		if left := c.alive(); len(left) > 0 || cancelled < jobs-ran || cancelled > jobs {
			t.Errorf("%d cancelled, %d left", cancelled, len(left))
		}
	})
}

// Whoever leaves the loop withdraws the order: what it has not reached runs.
func TestCancelManyLeftEarly(t *testing.T) {
	inCanceller(t, func(context.Context, *millhand.Job[millhand.Raw]) error { return nil }, func(t *testing.T, c *canceller) {
		const jobs = 2000
		batch := slices.Repeat([]millhand.Request{{Args: millhand.Raw{Name: "work"}}}, jobs)
		if _, err := c.EnqueueMany(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		for _, err := range c.CancelMany(t.Context(), millhand.JobFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		left := len(c.alive())
		if left == 0 || left == jobs {
			t.Errorf("%d left", left)
		}
		c.work(millhand.WorkerConfig{})
		time.Sleep(time.Minute)
		if c.runs() != left {
			t.Errorf("%d of %d ran", c.runs(), left)
		}
	})
}

func TestCancelManyRefusesABadFilter(t *testing.T) {
	inCanceller(t, nil, func(t *testing.T, c *canceller) {
		for _, f := range []millhand.JobFilter{{Queue: "a b"}, {Type: "*"}, {States: []millhand.State{millhand.Dead}}} {
			n := 0
			for _, err := range c.CancelMany(t.Context(), f) {
				if n++; !errors.Is(err, millhand.ErrInvalid) {
					t.Errorf("%+v: %v", f, err)
				}
			}
			if n != 1 {
				t.Errorf("%+v: %d answers", f, n)
			}
		}
	})
}

// Of a job whose worker has died, and is forgotten by now, nobody knows that it did nothing. So its id
// stays taken, if that was asked for, when it is cancelled before another worker gets it.
func TestCancelOfAJobWhoseWorkerHasDiedKeepsItsID(t *testing.T) {
	runs := func(ctx context.Context, _ *millhand.Job[millhand.Raw]) error {
		<-ctx.Done()
		return ctx.Err()
	}
	inCanceller(t, runs, func(t *testing.T, c *canceller) {
		link := c.server.Link()
		c.workOver(link.Connect(t), millhand.WorkerConfig{})
		ref := c.enqueue("a", millhand.WithUniqueFor(time.Hour))
		waits := c.enqueue("b", millhand.WithUniqueFor(time.Hour), millhand.WithDelay(time.Minute))
		time.Sleep(time.Second)
		link.Crash()
		time.Sleep(15 * time.Second) // its presence lasts for 10 s, its lease for 30 s
		for _, ref := range []millhand.Ref{ref, waits} {
			if done := c.cancel(ref); done.Worker != "" {
				t.Errorf("%+v", done)
			}
		}
		_, err := c.Enqueue(t.Context(), millhand.Raw{Name: "work"}, millhand.WithID("a"))
		duplicate, taken := errors.AsType[*millhand.DuplicateError](err)
		if !taken || duplicate.Existing.Life != ref.Life || duplicate.Until.IsZero() {
			t.Errorf("the id of a job that may have run: %v", err)
		}
		c.enqueue("b") // which nobody had
	})
}

// A loop whose body panics ends like one that is left.
func TestCancelManyWhoseLoopPanics(t *testing.T) {
	inCanceller(t, nil, func(t *testing.T, c *canceller) {
		batch := make([]millhand.Request, 2000)
		for i := range batch {
			batch[i] = millhand.Request{Args: millhand.Raw{Name: "work"}}
		}
		if _, err := c.EnqueueMany(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		for _, err := range c.CancelMany(t.Context(), millhand.JobFilter{}) {
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second) // for as many as there may be to wait for the loop
			panic("in the loop")
		}
	})
}
