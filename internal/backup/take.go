package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// A Config says of which namespace.
type Config struct {
	Client   *stream.Client
	Store    *queue.Store
	Registry *registry.Store
	By       string // who acts
	Millhand string // version of the command

	// Progress is told how far a stream is; total is 0 if that is not known. nil: nobody is.
	Progress func(s *Stream, done, total uint64)
	Say      func(format string, args ...any) // what is done now; nil: nobody is told
}

func (c *Config) say(format string, args ...any) {
	if c.Say != nil {
		c.Say(format, args...)
	}
}

func (c *Config) progress(s *Stream, done uint64) {
	if c.Progress != nil {
		c.Progress(s, done, s.State.Messages)
	}
}

// Options say how a backup is taken.
type Options struct {
	// Quiesce has all queues paused, and the backup begin when no job is in hand any more, which it waits
	// for Patience.
	Quiesce  bool
	Patience time.Duration
	// NoStatistics leaves out the history.
	NoStatistics bool
}

// errNothing says that there is nothing to back up.
var errNothing = errors.New("there is no queue in this namespace")

// ErrNothing reports whether err says that.
func ErrNothing(err error) bool { return errors.Is(err, errNothing) }

// Streams finds the streams of the namespace in the order of a backup, without what they have.
func (c *Config) Streams(ctx context.Context) ([]*Stream, error) {
	found, err := c.Store.Streams(ctx)
	if err != nil {
		return nil, err
	}
	of := make(map[Kind][]*Stream)
	add := func(k Kind, name string, q job.Name) {
		of[k] = append(of[k], &Stream{Name: name, Kind: k, Queue: q.String()})
	}
	for _, s := range found {
		switch {
		case s.Queue != job.Name{}:
			add(Queue, s.Name, s.Queue)
		case s.Dead:
			add(Dead, s.Name, job.Name{})
		case s.Name == c.Store.AllEvents().Stream:
			add(Events, s.Name, job.Name{})
		case s.Name == c.Client.Namespace()+"-workflows":
			add(Workflows, s.Name, job.Name{})
		case s.Name == c.Client.Namespace()+"-state":
			add(Pipelines, s.Name, job.Name{})
		case s.Name == c.Client.Namespace()+"-stats":
			add(Statistics, s.Name, job.Name{})
		}
	}
	switch _, err := c.Client.Info(ctx, c.Registry.Bucket().Stream()); {
	case err == nil:
		add(Registry, c.Registry.Bucket().Stream(), job.Name{})
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, err
	}
	var all []*Stream
	for _, k := range []Kind{Pipelines, Queue, Workflows, Events, Dead, Registry, Statistics} {
		all = append(all, of[k]...)
	}
	return all, nil
}

// Take writes an archive of the namespace to w. Whatever it paused is resumed when it returns.
func Take(ctx context.Context, c Config, o Options, w io.Writer) (m *Manifest, err error) {
	server := stream.Connected(c.Client.Conn())
	if err := server.CheckSnapshots(); err != nil {
		return nil, err
	}
	streams, err := c.Streams(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(streams, func(s *Stream) bool { return s.Kind == Queue }) {
		return nil, errNothing
	}
	m = &Manifest{Header: Header{
		Format: format, Version: version, Namespace: c.Client.Namespace(), Millhand: c.Millhand, Server: server.Version,
		By: c.By, Begun: time.Now().UTC(), Quiesced: o.Quiesce,
	}, Paused: []string{}}
	var rest *quiet
	if o.Quiesce {
		if rest, err = c.quiesce(ctx, streams, o.Patience); err != nil {
			return nil, err
		}
		m.Paused = rest.paused
		defer func() { err = errors.Join(err, rest.end(ctx)) }()
	}
	out, err := newWriter(w, m.Begun)
	if err != nil {
		return nil, err
	}
	if err := out.header(&m.Header); err != nil {
		return nil, err
	}
	for _, s := range streams {
		if s.Kind == Statistics && o.NoStatistics {
			continue
		}
		if err := c.take(ctx, s, out); err != nil {
			return nil, fmt.Errorf("stream %s: %w", s.Name, err)
		}
		m.Streams = append(m.Streams, s)
	}
	if rest != nil {
		if err := rest.check(ctx); err != nil {
			return nil, err
		}
	}
	m.Ended = time.Now().UTC()
	return m, out.finish(m)
}

// take writes a stream.
func (c *Config) take(ctx context.Context, s *Stream, out *writer) error {
	info, err := c.Client.Info(ctx, s.Name)
	if err != nil {
		return err
	}
	s.Clustered = info.Cluster != nil && info.Cluster.Name != ""
	if s.Consumers, err = c.consumers(ctx, s); err != nil {
		return err
	}
	snapshot, err := c.Client.Snapshot(ctx, s.Name)
	if err != nil {
		return err
	}
	defer func() { _ = snapshot.Close() }() // it is only read
	s.At, s.Config, s.State = time.Now().UTC(), snapshot.Config, snapshot.State
	p := out.stream(s)
	plain := io.TeeReader(s2.NewReader(snapshot), p)
	if err := c.count(s, archive.NewReader(plain)); err != nil {
		return cmp.Or(snapshot.Err(), err) // of what was cut off the archive's word is that it is invalid
	}
	if _, err := io.Copy(io.Discard, plain); err != nil { // what is behind the end; nothing
		return err
	}
	return p.close()
}

// consumers are those of a queue's types: what they are, and not what they have handed out. That is as
// good as nothing after a restore, and runs again.
func (c *Config) consumers(ctx context.Context, s *Stream) ([]jetstream.ConsumerConfig, error) {
	if s.Kind != Queue {
		return nil, nil
	}
	list, err := c.Client.Consumers(ctx, s.Name)
	if err != nil {
		return nil, err
	}
	if len(list.Silent) > 0 {
		return nil, fmt.Errorf("no server leads its consumers %s: try again when the cluster is well", strings.Join(list.Silent, ", "))
	}
	all := []jetstream.ConsumerConfig{}
	for _, info := range list.Infos {
		if info.Config.Durable != "" {
			all = append(all, info.Config)
		}
	}
	return all, nil
}

// count reads a snapshot to its end, which shows that it is whole, and notes what it has.
func (c *Config) count(s *Stream, from *archive.Reader) error {
	var jobs []queue.Part
	if q, err := job.QueueName(s.Queue); err == nil {
		jobs = []queue.Part{c.Store.ReadyOf(q, ""), c.Store.LaterOf(q, "")}
	}
	for {
		e, err := nextEntry(from)
		switch {
		case err != nil:
			return err
		case e.isEnd():
			c.progress(s, s.Messages)
			return nil
		case e.Sequence == 0:
			continue
		}
		s.Messages, s.LastSeq = s.Messages+1, e.Sequence
		for _, p := range jobs {
			if p.Covers(e.Name) {
				s.Jobs++
			}
		}
		if s.Messages%batchEntries == 0 {
			c.progress(s, s.Messages)
		}
	}
}
