package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

// DefaultNamespace is the first part of the bucket's name unless configured.
const DefaultNamespace = "millhand"

const (
	markerTTL         = time.Second // how long an expired key stays visible as such
	maxConsumers      = 10_000      // one per node that follows; the broker's own default is 1,000
	replicasInCluster = 3
	setupTimeout      = 5 * time.Second
)

// StoreConfig says where a [Store] is.
type StoreConfig struct {
	Namespace string       // default "millhand"
	Domain    string       // JetStream domain, if any
	Logger    *slog.Logger // never nil
}

// A Store is a namespace's registry over one connection: a key-value bucket, and core
// messages for what need not be stored. It is safe for concurrent use.
type Store struct {
	nc      *nats.Conn
	js      jetstream.JetStream
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
	return s, nil
}

func (s *Store) subject(key string) string { return "$KV." + s.bucket + "." + key }

// ensure makes the bucket where it does not exist, and returns when it was made: another
// time than before means that it was lost, with all that was in it.
func (s *Store) ensure(ctx context.Context) (made time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	st, err := s.js.Stream(ctx, s.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		st, err = s.js.CreateStream(ctx, s.config())
		if apiCode(err) == codeStreamNameInUse { // somebody else was first
			st, err = s.js.Stream(ctx, s.stream)
		}
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("bucket %s: %w", s.bucket, err)
	}
	info := st.CachedInfo()
	if c := info.Config; !c.AllowMsgTTL || !c.AllowDirect || c.MaxMsgsPerSubject != 1 {
		return time.Time{}, fmt.Errorf("%w: %s; choose another namespace", errForeign, s.bucket)
	}
	return info.Created, nil
}

// config is that of a key-value bucket with TTLs and a history of 1, made as a stream since
// a bucket's options do not reach MaxConsumers.
func (s *Store) config() jetstream.StreamConfig {
	replicas := 1
	if s.nc.ConnectedClusterName() != "" {
		replicas = replicasInCluster
	}
	return jetstream.StreamConfig{
		Name:              s.stream,
		Description:       "nodes, limits, grants and pauses",
		Subjects:          []string{s.subject(">")},
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
		MaxConsumers:      maxConsumers,
		Discard:           jetstream.DiscardNew,
		Duplicates:        2 * time.Minute,
		AllowRollup:       true, DenyDelete: true, AllowDirect: true,
		AllowMsgTTL: true, SubjectDeleteMarkerTTL: markerTTL,
	}
}

func apiCode(err error) jetstream.ErrorCode {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return e.ErrorCode
	}
	return 0
}
