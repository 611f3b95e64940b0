package registry

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
)

// A Store is a namespace's registry over one connection: a key-value bucket, and core
// messages for what need not be stored. It is safe for concurrent use.
type Store struct {
	client  *stream.Client
	bucket  *stream.Bucket
	nc      *nats.Conn
	log     *slog.Logger
	control string // prefix of hints
	person  string // who writes; empty: what the connection is called
}

// NewStore returns a store over a client, which stays the caller's. It does no I/O.
func NewStore(c *stream.Client, log *slog.Logger) *Store {
	return &Store{
		client: c, bucket: c.Bucket("registry", "nodes, limits, grants and pauses"),
		nc: c.Conn(), log: log, control: c.Namespace() + ".control.",
	}
}

// As returns the store as somebody writes through it, who is named in what they set.
func (s *Store) As(person string) *Store {
	other := *s
	other.person = person
	return &other
}

// Open makes the bucket where it does not exist.
func (s *Store) Open(ctx context.Context) error {
	_, err := s.bucket.Open(ctx)
	return err
}

// Bucket returns the bucket.
func (s *Store) Bucket() *stream.Bucket { return s.bucket }
