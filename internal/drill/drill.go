package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// Config says where a drill is, over one connection.
type Config struct {
	Client   *millhand.Client
	Stream   *stream.Client
	Store    *queue.Store
	Registry *registry.Store
	Server   string // its version
	Launch   Launch
	Say      func(format string, args ...any) // what is done now
}

// Options say how it goes.
type Options struct {
	Jobs     int
	Workers  int
	Duration time.Duration // of the disturbances
	Seed     uint64
}

const (
	lease       = 4 * time.Second
	limit       = 3 // of the type that is held
	concurrency = 8
	maxAttempts = 3
	readyWithin = 30 * time.Second
	endWithin   = 2 * time.Minute // for the last jobs, when nothing is disturbed any more
	emptyWithin = 2*lease + recoverWithin
	restWithin  = 20 * time.Second
	tidyWithin  = 30 * time.Second
	tellEach    = 10 * time.Second
	lookEach    = 300 * time.Millisecond
	portions    = 10 // in which the jobs come
	heldOf      = 8  // one job of so many is held, or fewer
)

// A conductor is a drill that goes on.
type conductor struct {
	Config
	o       Options
	random  *rand.Rand
	queue   string
	stream  string
	types   map[string]string // by kind
	workers *workers
	all     []*child // that live
	resting []*child // that drain
	jobs    []Job
	told    time.Time

	count  map[string]int // of disturbances
	events []Event        // as far as they are read
	next   uint64         // sequence of what is not read yet
}

// Run makes a drill, and removes what it made, whatever happens.
func Run(ctx context.Context, cfg Config, o Options) (report *Report, err error) {
	began := time.Now()
	tag := strings.ReplaceAll(uuid.NewString(), "-", "")[:8]
	c := &conductor{
		Config: cfg, o: o, random: rand.New(rand.NewPCG(o.Seed, 0)), queue: "drill-" + tag,
		types: make(map[string]string), count: make(map[string]int), told: time.Now(),
	}
	for _, kind := range []string{quick, slow, held, failing, shaky, later} {
		c.types[kind] = "drill-" + kind + "-" + tag
	}
	name, err := job.QueueName(c.queue)
	if err != nil {
		return nil, err
	}
	c.stream = c.Store.ReadyOf(name, "").Stream
	c.workers = &workers{launch: cfg.Launch, tag: tag, like: Worker{Queue: c.queue, Types: c.types, Lease: lease, Concurrency: concurrency}}
	if err := c.Client.SetQuota(ctx, millhand.Quota{Type: c.types[held], Limit: limit}); err != nil {
		return nil, err
	}
	defer func() {
		for _, w := range slices.Concat(c.all, c.resting) {
			c.workers.kill(w)
		}
		c.workers.beside.Wait()
		tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWithin)
		defer cancel()
		err = errors.Join(err, c.tidy(tidy))
	}()
	for range o.Workers {
		if err := c.hire(); err != nil {
			return nil, err
		}
	}
	for _, w := range c.all {
		within, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("worker %s is not ready after %v", w.name, readyWithin))
		err := w.await(within)
		cancel()
		if err != nil {
			return nil, err
		}
	}
	c.Say("queue %s: %d jobs, %d workers, seed %d", c.queue, o.Jobs, o.Workers, o.Seed)
	if err := c.disturb(ctx); err != nil {
		return nil, err
	}
	seen, err := c.observe(ctx)
	if err != nil {
		return nil, err
	}
	return c.report(seen, began), nil
}

func (c *conductor) hire() error {
	w, err := c.workers.start()
	if err == nil {
		c.all = append(c.all, w)
	}
	return err
}

// disturb has jobs come and workers go until the time is over.
func (c *conductor) disturb(ctx context.Context) error {
	began, portion := time.Now(), 0
	pause := max(c.o.Duration/40, lookEach)
	for time.Since(began) < c.o.Duration || portion < portions {
		for due := int(portions*time.Since(began)/max(c.o.Duration, 1)) + 1; portion < min(due, portions); portion++ {
			if err := c.enqueue(ctx, portion); err != nil {
				return err
			}
		}
		if err := stream.Sleep(ctx, pause/2+time.Duration(c.random.Int64N(int64(pause)))); err != nil {
			return err
		}
		if err := c.once(); err != nil {
			return err
		}
	}
	return nil
}

// once does something to a worker. One that is well stays.
func (c *conductor) once() error {
	for _, w := range c.all {
		if !w.frozen.IsZero() && time.Since(w.frozen) > lease*3/2 {
			if err := c.wake(w); err != nil {
				return err
			}
		}
	}
	well := slices.DeleteFunc(slices.Clone(c.all), func(w *child) bool { return !w.frozen.IsZero() || !w.isReady() })
	if len(well) < 2 {
		return nil
	}
	w := well[c.random.IntN(len(well))]
	switch c.random.IntN(4) {
	case 0:
		c.count[killed]++
		c.workers.kill(w)
	case 1:
		c.count[frozen]++
		c.workers.note(frozen, w.name)
		w.frozen = time.Now()
		return freeze(w.cmd.Process)
	case 2:
		c.count[drained]++
		if err := drain(w.cmd.Process); err != nil {
			return err
		}
		c.resting = append(c.resting, w)
	default:
		return nil
	}
	c.all = slices.DeleteFunc(c.all, func(other *child) bool { return other == w })
	return c.hire()
}

func (c *child) isReady() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

func (c *conductor) wake(w *child) error {
	w.frozen = time.Time{}
	c.workers.note(woken, w.name) // before it can say a word
	return wake(w.cmd.Process)
}

// enqueue enqueues a portion of the jobs, of all kinds.
func (c *conductor) enqueue(ctx context.Context, portion int) error {
	from, to := c.o.Jobs*portion/portions, c.o.Jobs*(portion+1)/portions
	var batch []millhand.Request
	var jobs []Job
	for i := from; i < to; i++ {
		j := Job{Kind: quick, MaxAttempts: maxAttempts}
		opts := []millhand.EnqueueOption{millhand.WithQueue(c.queue), millhand.WithMaxAttempts(maxAttempts)}
		switch c.random.IntN(20) {
		case 0, 1:
			j.Kind = held
		case 2:
			j.Kind = failing
		case 3:
			j.Kind = shaky
		case 4, 5:
			j.Kind = later
			wait := time.Duration(c.random.Int64N(int64(5 * time.Second)))
			j.NotBefore = time.Now().Add(wait)
			opts = append(opts, millhand.WithDelay(wait))
		case 6, 7:
			j.Kind = slow
		}
		j.Type, j.ID = c.types[j.Kind], fmt.Sprintf("%s-%d", j.Kind, i)
		batch = append(batch, millhand.Request{Args: millhand.Raw{Name: j.Type, Payload: []byte("{}")}, Options: append(opts, millhand.WithID(j.ID))})
		jobs = append(jobs, j)
	}
	refs, err := c.Client.EnqueueMany(ctx, batch)
	if err != nil {
		return err
	}
	for i := range jobs {
		jobs[i].Life = refs[i].Life
	}
	c.jobs = append(c.jobs, jobs...)
	return nil
}

// observe waits until all jobs have ended, has the workers rest, and puts together what was seen.
func (c *conductor) observe(ctx context.Context) (*Observations, error) {
	for _, w := range c.all {
		if !w.frozen.IsZero() {
			if err := c.wake(w); err != nil {
				return nil, err
			}
		}
	}
	c.Say("%d killed, %d frozen, %d drained; waiting until all %d jobs have ended", c.count[killed], c.count[frozen], c.count[drained], len(c.jobs))
	o := &Observations{Lease: lease, Limit: limit, Jobs: c.jobs}
	for end := time.Now().Add(endWithin + time.Duration(len(c.jobs))*heldTakes/limit/heldOf); ; {
		if err := c.read(ctx); err != nil {
			return nil, err
		}
		o.Events = c.events
		if n := len(o.endsOf()); n >= len(c.jobs) || time.Now().After(end) {
			break
		} else if time.Since(c.told) > tellEach {
			c.told = time.Now()
			c.Say("%d of %d jobs have ended", n, len(c.jobs))
		}
		if err := stream.Sleep(ctx, lookEach); err != nil {
			return nil, err
		}
	}
	if err := c.awaitEmpty(ctx, emptyWithin); err != nil {
		return nil, err
	}
	for _, w := range slices.Concat(c.resting, c.all) {
		c.workers.rest(w, restWithin)
	}
	c.all, c.resting = nil, nil
	c.workers.beside.Wait()
	return o, c.left(ctx, o)
}

// read reads what has come of the events of the drill's queue.
func (c *conductor) read(ctx context.Context) error {
	part := c.Store.EventsIn(c.queue)
	info, err := c.Stream.Info(ctx, part.Stream)
	if stream.Code(err) == stream.CodeStreamNotFound {
		return nil // it is made with the first event
	} else if err != nil {
		return err
	}
	for m, err := range c.Stream.Scan(ctx, part.Stream, stream.Scan{Subject: part.Subject, From: c.next, UpTo: info.State.LastSeq}) {
		if err != nil {
			return err
		}
		if e, ok := c.Store.ReadEvent(m); ok {
			c.events = append(c.events, Event{ID: e.ID, Life: e.Life, Kind: e.Kind, At: m.Time, Attempt: e.Attempt, Crashes: e.Crashes, Reason: e.Reason})
		}
	}
	c.next = info.State.LastSeq + 1
	return nil
}

// tidy removes what the drill made.
func (c *conductor) tidy(ctx context.Context) error {
	failed := []error{c.Client.SetQuota(ctx, millhand.Quota{Type: c.types[held]}), c.Stream.RemoveStream(ctx, c.stream)}
	keys, err := c.keys(ctx) // of workers that are killed; they would expire, too
	failed = append(failed, err)
	for _, key := range keys {
		_, err := c.Registry.Bucket().Put(ctx, stream.Write{Key: key, Remove: true, TTL: stream.MarkerTTL})
		failed = append(failed, err)
	}
	for _, p := range []queue.Part{c.Store.EventsIn(c.queue), c.Store.DeadIn(c.queue)} {
		_, err := c.Stream.Purge(ctx, p.Stream, stream.Purge{Subject: p.Subject})
		if stream.Code(err) != stream.CodeStreamNotFound {
			failed = append(failed, err)
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("something of the drill is left: remove queue %s and the limit of type %s: %w", c.queue, c.types[held], err)
	}
	return nil
}
