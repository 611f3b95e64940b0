package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// What an archive says of itself first.
const (
	format  = "millhand-backup"
	version = 1
)

// A Header is what is known when a backup begins. The names of its fields as JSON are a contract, as
// are those of the manifest.
type Header struct {
	Format    string    `json:"format"`
	Version   int       `json:"version"`
	Namespace string    `json:"namespace"`
	Millhand  string    `json:"millhand"` // version of the command
	Server    string    `json:"server"`   // version of the broker
	By        string    `json:"by"`
	Begun     time.Time `json:"begun"`
	Quiesced  bool      `json:"quiesced"` // nothing was in hand
}

// check refuses what another program or a later version wrote.
func (h *Header) check() error {
	switch {
	case h.Format != format:
		return fmt.Errorf("%w: it is no backup of Millhand", ErrArchive)
	case h.Version > version:
		return fmt.Errorf("%w: it is of version %d, and this millhand reads up to %d; use a later millhand", ErrArchive, h.Version, version)
	}
	return nil
}

// A Manifest is what an archive has. It is complete: without it nothing is restored.
type Manifest struct {
	Header
	Ended time.Time `json:"ended"`
	// Paused are the queues that the backup paused itself, and that were not paused before.
	Paused  []string  `json:"paused"`
	Streams []*Stream `json:"streams"` // in the order of the archive
}

// check refuses streams that a namespace does not have: whoever can edit a manifest can edit its sum, and
// what is wrong must be known before anything is removed.
func (m *Manifest) check() error {
	const mostSeq = 1 << 62 // the gap behind it has to be a sequence, too
	seen := make(map[string]bool)
	for _, s := range m.Streams {
		if s == nil {
			return errors.New("its manifest has a stream that is none")
		}
		name, subjects := s.Kind.place(m.Namespace, s.Queue)
		switch {
		case s.Name != name:
			return fmt.Errorf("%q is no stream of namespace %s that is for %s", s.Name, m.Namespace, s.Kind)
		case seen[s.Name]:
			return fmt.Errorf("stream %s is there twice", s.Name)
		case s.LastSeq > mostSeq || s.State.LastSeq > mostSeq:
			return fmt.Errorf("stream %s has come further than any can", s.Name)
		}
		if err := s.checkConfig(subjects); err != nil {
			return fmt.Errorf("the configuration of %s %w", s.Name, err)
		}
		seen[s.Name] = true
	}
	return nil
}

// checkConfig refuses a configuration with which a stream would take, or pass on, what is not its own.
func (s *Stream) checkConfig(subjects string) error {
	var c jetstream.StreamConfig
	if err := json.Unmarshal(s.Config, &c); err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	switch {
	case c.Name != s.Name:
		return fmt.Errorf("is that of %q", c.Name)
	case c.Mirror != nil:
		return errors.New("has mirror, which none of ours has")
	case len(c.Sources) > 0:
		return errors.New("has sources, which none of ours has")
	case c.RePublish != nil:
		return errors.New("has republish, which none of ours has")
	case c.SubjectTransform != nil:
		return errors.New("has subject_transform, which none of ours has")
	case len(c.Subjects) == 0:
		return errors.New("has no subjects")
	}
	for _, subject := range c.Subjects {
		if !strings.HasPrefix(subject, subjects) {
			return fmt.Errorf("has the subject %q, which is not its own", subject)
		}
	}
	return nil
}

// A Kind is what a stream is for.
type Kind string

// The kinds, in the order of a backup. An event is older than what its workflow knows of it, and that is
// older than the end of its job's message: so whoever gets a job from a backup can do what is left to do. And what a
// pipeline has enqueued is older than how far it says it is.
const (
	Pipelines  Kind = "pipelines"
	Queue      Kind = "queue"
	Workflows  Kind = "workflows"
	Events     Kind = "events"
	Dead       Kind = "dead"
	Registry   Kind = "registry"
	Statistics Kind = "statistics"
)

// place is the name of a namespace's stream of a kind, and how its subjects begin. There is no stream without a
// name.
func (k Kind) place(namespace, queue string) (name, subjects string) {
	switch k {
	case Queue:
		if job.CheckQueue(queue) == nil {
			return namespace + "-queue-" + queue, namespace + "." + queue + "."
		}
	case Pipelines:
		return namespace + "-state", namespace + ".state."
	case Workflows:
		return namespace + "-workflows", namespace + ".workflow."
	case Events:
		return namespace + "-events", namespace + ".event."
	case Dead:
		return namespace + "-dead", namespace + ".dead."
	case Registry:
		return "KV_" + namespace + "-registry", "$KV." + namespace + "-registry."
	case Statistics:
		return namespace + "-stats", namespace + ".stats."
	}
	return "", ""
}

// A Stream is one of those that an archive has.
type Stream struct {
	Name      string                     `json:"name"`
	Kind      Kind                       `json:"kind"`
	Queue     string                     `json:"queue,omitempty"`
	At        time.Time                  `json:"at"` // of its snapshot
	Clustered bool                       `json:"clustered"`
	Config    json.RawMessage            `json:"config"`
	State     stream.SnapshotState       `json:"state"`
	Consumers []jetstream.ConsumerConfig `json:"consumers"` // of a queue

	Messages uint64 `json:"messages"` // in the archive
	Jobs     uint64 `json:"jobs"`     // of them, in a queue
	LastSeq  uint64 `json:"last_seq"` // of them

	Parts  int    `json:"parts"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Queues are the names of the queues.
func (m *Manifest) Queues() (names []string) {
	for _, s := range m.Streams {
		if s.Kind == Queue {
			names = append(names, s.Queue)
		}
	}
	return names
}
