package queue

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/natstest"
)

// Where nobody says what time it is, a batch of jobs that wait takes no longer than one of them.
func TestManyWithoutAClock(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		s := newScene(t, server)
		l := server.Link()
		store := s.open(l.Connect(t), Config{AckWait: testWait})
		l.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "$JS.API.STREAM.INFO.") {
				return natstest.Lost
			}
			return natstest.Pass
		})
		batch := make([]Enqueue, 0, 50)
		for i := range 50 {
			batch = append(batch, s.delayed(fmt.Sprintf("j%d", i), time.Minute))
		}
		batch[49].Delay = 0
		began := time.Now()
		errs := store.EnqueueMany(s.ctx, batch)
		if took := time.Since(began); took > 2*defaultPatience {
			t.Errorf("it took %v", took)
		}
		for i, err := range errs[:49] {
			if !errors.Is(err, ErrNotSent) {
				t.Fatalf("batch[%d]: %v", i, err)
			}
		}
		if errs[49] != nil {
			t.Errorf("a job that needs no clock: %v", errs[49])
		}
	})
}
