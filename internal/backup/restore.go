package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/millhand/millhand/internal/arrival"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

const (
	// gap is how many sequences are left out behind those of a backup, so that none is given out again
	// that the lost stream gave out since. nats-server walks through it once for each consumer, and when
	// it starts within two minutes, so it cannot be as large as one likes: see docs/decisions/0058.
	gap = 1 << 22
	// maxGap is how many are left out where it is known how far the stream came that is replaced: room for one backup
	// to be restored fifteen times in a row. nats-server takes six seconds for that many in five streams.
	maxGap = 1 << 26

	madeWithin = 20 * time.Second
	madeAgain  = 200 * time.Millisecond
)

// A Plan says what a restore will meet.
type Plan struct {
	Manifest *Manifest
	Streams  []*Stream // of the manifest, that are restored
	Existing []*Existing
	Workers  []string // that run, or did ten seconds ago
	Jobs     uint64   // messages of queues that are removed, most of which are jobs

	replicas int          // of a stream that is made here
	partial  bool         // of some queues only: events, dead jobs and limits stay
	holds    []queue.Held // of these queues, which are kept
}

// An Existing stream is one that would be replaced.
type Existing struct {
	Name     string `json:"name"`
	Kind     Kind   `json:"kind"`
	Messages uint64 `json:"messages"`
	LastSeq  uint64 `json:"last_seq"`
}

// errOther says that an archive is of another namespace.
func errOther(m *Manifest, here string) error {
	return fmt.Errorf("%w: it is of namespace %s, and this is %s: give --namespace %s", ErrArchive, m.Namespace, here, m.Namespace)
}

// Look looks what a restore will meet. Of some queues only it replaces nothing else.
func (c *Config) Look(ctx context.Context, m *Manifest, queues []string) (*Plan, error) {
	if m.Namespace != c.Client.Namespace() {
		return nil, errOther(m, c.Client.Namespace())
	}
	if err := stream.Connected(c.Client.Conn()).CheckSnapshots(); err != nil {
		return nil, err
	}
	p := &Plan{Manifest: m, partial: len(queues) > 0}
	for _, q := range queues {
		if !slices.Contains(m.Queues(), q) {
			return nil, fmt.Errorf("%w: it has no queue %s, but %s", ErrArchive, q, strings.Join(m.Queues(), ", "))
		}
	}
	meant := func(s *Stream) bool { return len(queues) == 0 || slices.Contains(queues, s.Queue) }
	for _, s := range m.Streams {
		if meant(s) {
			p.Streams = append(p.Streams, s)
		}
	}
	there, err := c.Streams(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range there {
		if !meant(s) {
			continue
		}
		info, err := c.Client.Info(ctx, s.Name)
		if err != nil {
			return nil, err
		}
		p.Existing = append(p.Existing, &Existing{Name: s.Name, Kind: s.Kind, Messages: info.State.Msgs, LastSeq: info.State.LastSeq})
		if s.Kind == Queue {
			p.Jobs += info.State.Msgs - min(info.State.Msgs, 1) // but for the pin
		}
	}
	for _, s := range p.Streams {
		if err := c.Client.MayRestore(ctx, s.Name); err != nil {
			return nil, fmt.Errorf("restore %s: %w", s.Name, err)
		}
	}
	p.Workers, err = c.Registry.Present(ctx)
	return p, err
}

// goesOnAt is the sequence behind which a stream goes on.
func (p *Plan) goesOnAt(s *Stream) uint64 {
	last := max(s.State.LastSeq, s.LastSeq)
	for _, e := range p.Existing {
		if e.Name == s.Name && e.LastSeq > last && e.LastSeq-last < maxGap-gap {
			last = e.LastSeq
		}
	}
	return last + gap
}

// A Result is what was restored.
type Result struct {
	Streams []*Stream `json:"streams"`
	Dropped uint64    `json:"ended"` // jobs that were in a queue and had ended, as their events say
	Paused  []string  `json:"paused"`
}

// RestoreOptions say how a namespace is restored.
type RestoreOptions struct {
	Resume bool   // do not pause the queues
	From   string // what the archive is called, for the reason of the pauses
}

// Restore removes what the plan says that exists, and restores its streams. The archive is opened
// twice, and has to be the one that was verified. If it fails in the middle, the namespace is not
// whole: it is to be restored again.
func Restore(ctx context.Context, c Config, p *Plan, o RestoreOptions, open func() (io.ReadCloser, error)) (*Result, error) {
	var err error
	if p.replicas, err = c.replicasHere(ctx); err != nil {
		return nil, err
	}
	arrival.New(c.Client, c.Store, c.Registry, slog.New(slog.DiscardHandler)) // which counts the ends of steps
	if err := c.readHolds(ctx, p); err != nil {
		return nil, err
	}
	if err := c.remove(ctx, p); err != nil {
		return nil, err
	}
	r := &Result{Streams: p.Streams, Paused: []string{}}
	isQueue := func(s *Stream) bool { return s.Kind == Queue }
	if slices.ContainsFunc(p.Streams, not(isQueue)) {
		err := c.pass(ctx, p, open, not(isQueue), func(ctx context.Context, s *Stream, body io.Reader) error {
			var keep func(context.Context, []*entry) ([]*entry, error)
			if s.Kind == Registry {
				keep = c.keepSettings(p.Manifest)
			}
			return c.restore(ctx, p, s, body, keep)
		})
		if err != nil {
			return nil, err
		}
	}
	if !o.Resume {
		if err := c.pause(ctx, p, o.From, r); err != nil {
			return nil, err
		}
	}
	f := &endedFilter{store: c.Store, deadAt: p.deadAt()}
	err = c.pass(ctx, p, open, isQueue, func(ctx context.Context, s *Stream, body io.Reader) error {
		if err := c.restore(ctx, p, s, body, f.keep); err != nil {
			return err
		}
		return c.makeConsumers(ctx, s)
	})
	if err == nil {
		err = f.complete(ctx)
	}
	if err == nil {
		err = c.keepHolds(ctx, p)
	}
	r.Dropped = f.dropped
	return r, err
}

// deadAt is as of when the records of dead jobs are that a restore goes by.
func (p *Plan) deadAt() time.Time {
	for _, s := range p.Streams {
		if s.Kind == Dead {
			return s.At
		}
	}
	return time.Now() // they are not restored
}

// readHolds reads which ids are kept taken in queues that are replaced beside events that stay: those of jobs that
// ended since the backup would be free.
func (c *Config) readHolds(ctx context.Context, p *Plan) error {
	if !p.partial {
		return nil
	}
	for _, e := range p.Existing {
		for _, s := range p.Streams {
			if s.Name != e.Name || s.Kind != Queue {
				continue
			}
			name, err := job.QueueName(s.Queue)
			if err != nil {
				return err
			}
			for h, err := range c.Store.Holds(ctx, name, e.LastSeq) {
				if err != nil {
					return fmt.Errorf("read which ids are kept in queue %s: %w", s.Queue, err)
				}
				p.holds = append(p.holds, h)
			}
		}
	}
	return nil
}

// keepHolds keeps them in what is restored.
func (c *Config) keepHolds(ctx context.Context, p *Plan) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, h := range p.holds {
		g.Go(func() error { return c.Store.KeepTaken(ctx, h) })
	}
	return g.Wait()
}

func not(f func(*Stream) bool) func(*Stream) bool { return func(s *Stream) bool { return !f(s) } }

// remove removes what exists, the queues first: what runs without its events and its registry is not
// known to have ended.
func (c *Config) remove(ctx context.Context, p *Plan) error {
	for _, k := range []Kind{Queue, Pipelines, Workflows, Events, Dead, Statistics, Registry} {
		for _, e := range p.Existing {
			if e.Kind != k {
				continue
			}
			if err := c.Client.RemoveStream(ctx, e.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// pause pauses the queues that are restored, before they are.
func (c *Config) pause(ctx context.Context, p *Plan, from string, r *Result) error {
	before, err := c.Registry.Paused(ctx)
	if err != nil {
		return err
	}
	for _, s := range p.Streams {
		if s.Kind != Queue {
			continue
		}
		r.Paused = append(r.Paused, s.Queue)
		if there, paused := before[s.Queue]; paused && there.Until.IsZero() {
			continue // by somebody, who gave a reason
		}
		reason := fmt.Sprintf("restored from %s, of %s", from, p.Manifest.Begun.Format(time.RFC3339))
		if err := c.Registry.PauseFor(ctx, s.Queue, reason[:min(len(reason), registry.MaxPauseReason)], 0); err != nil {
			return fmt.Errorf("pause queue %s: %w", s.Queue, err)
		}
	}
	return nil
}

// keepSettings leaves out of a registry what workers keep of themselves, and the pauses of the backup.
func (c *Config) keepSettings(m *Manifest) func(context.Context, []*entry) ([]*entry, error) {
	bucket := c.Registry.Bucket()
	return func(_ context.Context, batch []*entry) ([]*entry, error) {
		return slices.DeleteFunc(batch, func(e *entry) bool {
			key := bucket.Key(e.Name)
			return registry.OfWorkers(key) || registry.PausedBy(key, m.Paused)
		}), nil
	}
}

// restore restores a stream.
func (c *Config) restore(ctx context.Context, p *Plan, s *Stream, body io.Reader, keep func(context.Context, []*entry) ([]*entry, error)) error {
	r := newRewriter(ctx, body)
	r.lastSeq, r.keep = p.goesOnAt(s), keep
	done := uint64(0)
	r.wrote = func(n int) {
		done += uint64(n)
		c.progress(s, done)
	}
	config, err := s.configFor(p.replicas)
	if err != nil {
		return err
	}
	err = c.Client.RestoreStream(ctx, s.Name, config, s.State, r)
	if errors.Is(err, stream.ErrExists) {
		return fmt.Errorf("%w: somebody made it meanwhile; stop all workers and whatever enqueues, and restore again with --replace", err)
	}
	return err
}

// configFor is a stream's configuration with the replicas that there can be here. In a cluster it is
// what the operator chose, unless it comes from a single server.
func (s *Stream) configFor(replicas int) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(s.Config, &fields); err != nil {
		return nil, fmt.Errorf("%w: the configuration of %s cannot be read: %w", ErrArchive, s.Name, err)
	}
	if !s.Clustered || replicas == 1 {
		fields["num_replicas"] = json.RawMessage(strconv.Itoa(replicas))
	}
	return json.Marshal(fields)
}

// replicasHere is how many replicas a stream has that is made here, as that of the registry is: made for
// this, and removed, where there is none. It must not be removed twice within moments: nats-server
// (2.15.2) moves its files to where the first ones are still being removed, fails at that without
// a word, and makes the next stream of the name out of them.
func (c *Config) replicasHere(ctx context.Context) (int, error) {
	name := c.Registry.Bucket().Stream()
	info, err := c.Client.Info(ctx, name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		if err != nil {
			return 0, err
		}
		return info.Config.Replicas, nil
	}
	if err := c.Registry.Open(ctx); err != nil {
		return 0, err
	}
	if info, err = c.Client.Info(ctx, name); err != nil {
		return 0, err
	}
	return info.Config.Replicas, c.Client.RemoveStream(ctx, name)
}

// makeConsumers makes the consumers of a queue as they were, with nothing handed out. In a cluster the
// stream may have no leader yet.
func (c *Config) makeConsumers(ctx context.Context, s *Stream) error {
	patient, cancel := context.WithTimeout(ctx, madeWithin)
	defer cancel()
	for _, cfg := range s.Consumers {
		cfg.Replicas = 0 // as many as the stream
		for {
			_, err := c.Client.JetStream().CreateConsumer(patient, s.Name, cfg)
			if err == nil {
				break
			}
			if patient.Err() != nil || stream.IsRefusal(err) && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return fmt.Errorf("restore consumer %s of %s: %w", cfg.Durable, s.Name, err)
			}
			if stream.Sleep(patient, madeAgain) != nil {
				return fmt.Errorf("restore consumer %s of %s: %w", cfg.Durable, s.Name, err)
			}
		}
	}
	return nil
}

// pass restores the streams of an archive that are wanted.
func (c *Config) pass(ctx context.Context, p *Plan, open func() (io.ReadCloser, error), wanted func(*Stream) bool, restore func(context.Context, *Stream, io.Reader) error) error {
	file, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it is only read
	r, err := newReader(ctx, file)
	if err != nil {
		return err
	}
	defer r.close()
	if _, err := r.head(); err != nil {
		return err
	}
	for {
		name, body, err := r.stream()
		if err != nil || name == "" {
			return err
		}
		if i := slices.IndexFunc(p.Streams, func(s *Stream) bool { return s.Name == name }); i >= 0 && wanted(p.Streams[i]) {
			if err := restore(ctx, p.Streams[i], body); err != nil {
				return err
			}
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return err
		}
	}
}
