package millhand_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

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
