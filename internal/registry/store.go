package registry

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// DefaultNamespace is the first part of the bucket's name unless configured.
const DefaultNamespace = "millhand"

const (
	markerTTL    = time.Second // how long an expired key stays visible as such
	setupTimeout = 5 * time.Second
)

// StoreConfig says where a [Store] is.
type StoreConfig struct {
	Namespace string       // default "millhand"
	Domain    string       // JetStream domain, if any
	MaxBytes  int64        // of the bucket, if it is made; 0: no limit
	Logger    *slog.Logger // never nil
}

// A Store is a namespace's registry over one connection: a key-value bucket, and core
// messages for what need not be stored. It is safe for concurrent use.
type Store struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	maker   *stream.Maker
	log     *slog.Logger
	api     string // prefix of the JetStream API
	pre     string // what a domain puts before the subjects of a bucket
	bucket  string
	stream  string // below the bucket
	control string // prefix of hints
}

// NewStore returns a store over nc, which stays the caller's. It does no I/O.
func NewStore(nc *nats.Conn, cfg StoreConfig) (*Store, error) {
	if cfg.Namespace == "" {
		cfg.Namespace = DefaultNamespace
	}
	if err := job.CheckNamespace(cfg.Namespace); err != nil {
		return nil, err
	}
	bucket := cfg.Namespace + "-registry"
	s := &Store{
		nc: nc, log: cfg.Logger, api: "$JS.API.",
		bucket: bucket, stream: "KV_" + bucket, control: cfg.Namespace + ".control.",
	}
	var err error
	if cfg.Domain == "" {
		s.js, err = jetstream.New(nc)
	} else {
		s.api = "$JS." + cfg.Domain + ".API."
		s.pre = s.api
		s.js, err = jetstream.NewWithDomain(nc, cfg.Domain)
	}
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	s.maker = stream.NewMaker(nc, s.js, cfg.Domain, cfg.MaxBytes)
	return s, nil
}

func (s *Store) subject(key string) string { return "$KV." + s.bucket + "." + key }

// Open makes the bucket where it does not exist.
func (s *Store) Open(ctx context.Context) error {
	_, err := s.ensure(ctx)
	return err
}

// ensure makes the bucket where it does not exist, and returns when it was made: another
// time than before means that it was lost, with all that was in it.
func (s *Store) ensure(ctx context.Context) (made time.Time, err error) {
	info, _, err := s.maker.Ensure(ctx, s.config())
	if err != nil {
		return time.Time{}, fmt.Errorf("bucket %s: %w", s.bucket, err)
	}
	return info.Created, nil
}

// config is that of a key-value bucket with TTLs and a history of 1, made as a stream, as
// the others of the namespace are.
func (s *Store) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              s.stream,
		Description:       "nodes, limits, grants and pauses",
		Subjects:          []string{s.subject(">")},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		Duplicates:        2 * time.Minute,
		AllowRollup:       true, DenyDelete: true, AllowDirect: true,
		AllowMsgTTL: true, SubjectDeleteMarkerTTL: markerTTL,
	}
}
