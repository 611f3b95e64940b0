package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/stream"
)

const (
	// quietFor is how long a pause lasts if nobody ends it, since who made it died.
	quietFor = time.Hour
	// lookEvery is how often it is looked whether anything is in hand.
	lookEvery = 500 * time.Millisecond
	// resumeWithin is how long it is tried to end the pauses.
	resumeWithin = 10 * time.Second
)

// ErrBusy says that jobs were still in hand when patience ended.
var ErrBusy = errors.New("jobs are still in hand")

// A quiet is a namespace in which nothing is in hand.
type quiet struct {
	config *Config
	paused []string // queues that were not
}

// quiesce pauses all queues, and waits until no worker has anything of them, and none has asked for any.
func (c *Config) quiesce(ctx context.Context, streams []*Stream, patience time.Duration) (q *quiet, err error) {
	before, err := c.Registry.Paused(ctx)
	if err != nil {
		return nil, err
	}
	q = &quiet{config: c, paused: []string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.end(ctx))
		}
	}()
	var queues []*Stream
	for _, s := range streams {
		if s.Kind != Queue {
			continue
		}
		queues = append(queues, s)
		if _, paused := before[s.Queue]; paused {
			continue
		}
		q.paused = append(q.paused, s.Queue)
		if err := c.Registry.PauseFor(ctx, s.Queue, "a backup is taken", quietFor); err != nil {
			return q, fmt.Errorf("pause queue %s: %w", s.Queue, err)
		}
	}
	c.say("all queues are paused; waiting until nothing is in hand")
	began := time.Now()
	for {
		busy, err := c.inHand(ctx, queues)
		switch {
		case err != nil:
			return q, err
		case busy == "":
			c.say("nothing is in hand after %v", time.Since(began).Round(100*time.Millisecond))
			return q, nil
		case time.Since(began) > patience:
			return q, fmt.Errorf("%w after %v: %s; give it longer with --timeout, or leave out --quiesce", ErrBusy, patience, busy)
		}
		if err := stream.Sleep(ctx, lookEvery); err != nil {
			return q, err
		}
	}
}

// inHand says what is in hand of these queues, or may be at any moment since a worker has asked for it.
func (c *Config) inHand(ctx context.Context, queues []*Stream) (busy string, err error) {
	var all []string
	for _, s := range queues {
		list, err := c.Client.Consumers(ctx, s.Name)
		if err != nil {
			return "", err
		}
		for _, info := range list.Infos {
			if n := info.NumAckPending; n > 0 {
				all = append(all, fmt.Sprintf("%d of type %s in queue %s", n, info.Name, s.Queue))
			} else if n := info.NumWaiting; n > 0 {
				all = append(all, fmt.Sprintf("%d requests for type %s in queue %s", n, info.Name, s.Queue))
			}
		}
		for _, name := range list.Silent {
			all = append(all, fmt.Sprintf("nobody knows how many of type %s in queue %s", name, s.Queue))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", "), nil
}

// check returns an error if a pause has ended meanwhile.
func (q *quiet) check(ctx context.Context) error {
	now, err := q.config.Registry.Paused(ctx)
	if err != nil {
		return err
	}
	for _, queue := range q.paused {
		if _, paused := now[queue]; !paused {
			return fmt.Errorf("queue %s was resumed while the backup was taken, so it is not exact: take it again", queue)
		}
	}
	return nil
}

// end ends the pauses, whatever else has ended.
func (q *quiet) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumeWithin)
	defer cancel()
	var failed []error
	for _, queue := range q.paused {
		if err := q.config.Registry.Resume(ctx, queue); err != nil {
			failed = append(failed, fmt.Errorf("queue %s stays paused, for an hour at most: millhand resume %s (%w)", queue, queue, err))
		}
	}
	return errors.Join(failed...)
}
