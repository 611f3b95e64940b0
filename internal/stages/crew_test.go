package stages_test

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/millhand/millhand/internal/stages"
)

// job is the event of these scenes: its child works for a while and ends with the errors in turn,
// the last one for good.
type job struct {
	id      any
	takes   time.Duration
	results []error
	starts  int
}

// A child that ignores is one that starts nothing and ends at once.
var errStart, errIgnored = errors.New("start_error"), errors.New("ignore")

// crew is a consumer supervisor whose children are logged as [start, id] and [stop, id].
type crew struct {
	*stages.ConsumerSupervisor[any]
	run         *run
	active, top int
	gaveUp      []any
	free        int
}

func (s *scene) crew(config stages.ConsumerSupervisorConfig[any]) *crew {
	s.Helper()
	c := new(crew)
	config.Start = func(ctx context.Context, event any, slot stages.Slot[any]) error {
		j := event.(*job)
		result := j.results[min(j.starts, len(j.results)-1)]
		j.starts++
		if errors.Is(result, errStart) || errors.Is(result, errIgnored) {
			s.note(result.Error(), j.id)
			return result
		}
		s.mu.Lock()
		c.active++
		c.top = max(c.top, c.active)
		s.mu.Unlock()
		s.note("start", j.id)
		s.all.Go(func() {
			select {
			case <-time.After(j.takes):
			case <-ctx.Done():
			}
			s.note("stop", j.id)
			s.mu.Lock()
			c.active--
			s.mu.Unlock()
			slot.Ended(result)
		})
		return nil
	}
	config.OnGiveUp = func(event any, _ error) { c.gaveUp = append(c.gaveUp, event.(*job).id) }
	config.OnFree = func(n int) { c.free += n }
	c.ConsumerSupervisor = must(stages.NewConsumerSupervisor(config))
	c.run = s.start(c)
	return c
}

// children returns the log with the producer's name and subscriptions left out.
func children(log []entry) (found []entry) {
	for _, e := range log {
		switch e[0] {
		case "demand":
			found = append(found, entry{"demand", e[2]})
		case "start", "stop", "start_error", "ignore":
			found = append(found, e)
		}
	}
	return found
}

// wantSequence compares two logs entry by entry: what the scene's time decides is an exact
// sequence.
func (s *scene) wantSequence(key string, got []entry) {
	s.Helper()
	var want any
	if err := json.Unmarshal(s.Expect.parts[key], &want); err != nil {
		s.Fatal(err)
	}
	s.same(key, want, plain(s.T, append([]entry{}, got...)))
}
