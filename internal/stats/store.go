package stats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
)

// Bounds of the stream. What is in it expires by itself before that, but for a very large cluster.
const (
	maxAge     = 100 * 24 * time.Hour
	maxBytes   = 512 << 20
	fewBytes   = 64 << 20 // where the broker has not that much to give
	dedupFor   = 2 * time.Minute
	doubtFor   = dedupFor - 30*time.Second // the broker counts from when it stored, and may start anew
	encodeRoom = 4 << 10                   // for headers and the protocol
)

// A Store is the statistics of a namespace, over one client. It is safe for concurrent use.
type Store struct {
	client *stream.Client
	name   string // of the stream
	prefix string // of its subjects
	log    *slog.Logger
}

// NewStore returns a store over a client, which stays the caller's. It does no I/O.
func NewStore(c *stream.Client, log *slog.Logger) *Store {
	return &Store{client: c, name: c.Namespace() + "-stats", prefix: c.Namespace() + ".stats.", log: log}
}

// subject returns a subject of the stream, by what is below that of statistics.
func (s *Store) subject(of string) string { return s.prefix + of }

// Open makes the stream where it does not exist.
func (s *Store) Open(ctx context.Context) error {
	cfg := s.config()
	_, _, err := s.client.Ensure(ctx, cfg)
	if code := stream.Code(err); code == stream.CodeStorageFull || code == stream.CodeAccountFull {
		cfg.MaxBytes = fewBytes
		_, _, err = s.client.Ensure(ctx, cfg)
	}
	return err
}

func (s *Store) config() jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name:        s.name,
		Description: "what workers counted, and sums of it",
		Subjects:    []string{s.subject(tally.OfNodes), s.subject("audit.*")},
		Storage:     jetstream.FileStorage,
		Compression: jetstream.S2Compression,
		MaxAge:      maxAge, MaxBytes: maxBytes,
		Duplicates:  dedupFor,
		AllowDirect: true, AllowMsgTTL: true,
	}
	for _, r := range tally.Resolutions() {
		cfg.Subjects = append(cfg.Subjects, s.subject(r.Name))
	}
	return cfg
}

// send stores a record once. A record of which it is not known whether it is stored is sent again
// under its name, which is empty for one that is on a condition.
func (s *Store) send(ctx context.Context, r *tally.Record, m *nats.Msg, keep time.Duration) error {
	body, ok := r.Encode(int(s.client.Conn().MaxPayload()) - encodeRoom)
	if !ok {
		return errTooLarge
	}
	m.Data = body
	stream.Expire(m, keep)
	_, err := s.client.Publish(ctx, m)
	return err
}

var errTooLarge = errors.New("a record of statistics does not fit into a message")

// put stores a worker's record.
func (s *Store) put(ctx context.Context, node string, l *tally.Letter) error {
	m := &nats.Msg{Subject: s.subject("node." + node), Header: nats.Header{}}
	m.Header[stream.HeaderMsgID] = []string{fmt.Sprintf("%s/%d", node, l.Number)}
	return s.send(ctx, l.Record, m, tally.KeepNode)
}
