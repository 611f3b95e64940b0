package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	internal "github.com/millhand/millhand/internal/stream"
)

// Partitioned returns the configuration of a stream whose messages the broker puts into n partitions when it
// stores them, by a token of their subject: the wildcard-th "*" of cfg's one subject, from 1. The number of
// the partition becomes a token before the first wildcard: of "orders.*" a message on orders.ann is stored on
// orders.7.ann, and the Subject of an [OrderedConfig] for it is "orders.{partition}.*". What is published
// does not change.
//
// Equal tokens are in one partition, as the broker hashes them: FNV-1a of 32 bits, modulo n.
func Partitioned(cfg jetstream.StreamConfig, n, wildcard int) (jetstream.StreamConfig, error) {
	if len(cfg.Subjects) != 1 || n < 1 || n > maxPartitions || cfg.SubjectTransform != nil {
		return cfg, fmt.Errorf("%w: Partitioned needs one subject, from 1 to %d partitions and no other transform: there are %q, %d partitions",
			ErrInvalid, maxPartitions, cfg.Subjects, n)
	}
	source := cfg.Subjects[0]
	wildcards := 0
	var to []string
	for token := range strings.SplitSeq(source, ".") {
		if (token == "*" || token == ">") && wildcards == 0 {
			to = append(to, fmt.Sprintf("{{partition(%d,%d)}}", n, wildcard))
		}
		if token == "*" {
			wildcards++
			token = fmt.Sprintf("{{wildcard(%d)}}", wildcards)
		}
		to = append(to, token)
	}
	if wildcard < 1 || wildcard > wildcards {
		return cfg, fmt.Errorf("%w: subject %q has %d wildcards *, and the partition is to be by number %d", ErrInvalid, source, wildcards, wildcard)
	}
	cfg.SubjectTransform = &jetstream.SubjectTransformConfig{Source: source, Destination: strings.Join(to, ".")}
	return cfg, nil
}

// ResetGroup has a group go on at a sequence of its stream, in all partitions, whatever it has handled, and
// forgets what its folds have: after [ErrStreamShorter], or to handle something again. Processes that run
// lose their partitions by it, and take them again. It returns [ErrInvalid] if the group has more Partitions.
func ResetGroup(ctx context.Context, nc *nats.Conn, cfg OrderedConfig, seq uint64) error {
	return eachCursor(ctx, nc, cfg, func(c *cursor) { c.Seq, c.Done, c.Folds = max(seq, 1)-1, nil, nil })
}

// Regroup has a group begin where another one of the same stream is: at the least cursor of its partitions, of
// which there may be another number. What was handled beyond that is handled again, and states of folds stay
// behind. Nothing of the old group may run meanwhile. It returns [ErrInvalid] for a from that has another number
// of Partitions than there are.
func Regroup(ctx context.Context, nc *nats.Conn, from, to OrderedConfig) error {
	least, first := uint64(0), true
	err := readCursors(ctx, nc, from, func(_ *cursors, _ int, c cursor, at uint64) error {
		if at == 0 {
			return fmt.Errorf("%w: there is no such one, or nobody has had it", ErrInvalid)
		}
		if first || c.Seq < least {
			least, first = c.Seq, false
		}
		return nil
	})
	if err != nil {
		return err
	}
	return eachCursor(ctx, nc, to, func(c *cursor) { c.Seq, c.Done, c.Folds = least, nil, nil })
}

// readCursors calls f with the cursor of each partition of a group.
func readCursors(ctx context.Context, nc *nats.Conn, cfg OrderedConfig, f func(cs *cursors, partition int, c cursor, at uint64) error) error {
	if nc == nil || cfg.Group == "" {
		return fmt.Errorf("%w: a connection and a Group are needed", ErrInvalid)
	}
	client, err := internal.New(nc, internal.Config{Namespace: cfg.Namespace, Domain: cfg.Domain, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	defer client.Close()
	cs := &cursors{client: client, group: cfg.Group}
	if err := cs.open(ctx); err != nil {
		return err
	}
	partitions := max(cfg.Partitions, 1)
	if _, at, err := cs.read(ctx, partitions); err != nil || at > 0 {
		if err == nil {
			err = fmt.Errorf("%w: group %s has more than %d Partitions", ErrInvalid, cfg.Group, partitions)
		}
		return err
	}
	for n := range partitions {
		c, at, err := cs.read(ctx, n)
		if err == nil {
			err = f(cs, n, c, at)
		}
		if err != nil {
			return fmt.Errorf("partition %d of group %s: %w", n, cfg.Group, err)
		}
	}
	return nil
}

// eachCursor changes the cursors of a group. The epoch goes up, so that an owner loses the partition.
func eachCursor(ctx context.Context, nc *nats.Conn, cfg OrderedConfig, change func(*cursor)) error {
	return readCursors(ctx, nc, cfg, func(cs *cursors, n int, c cursor, at uint64) error {
		info, err := cs.client.Info(ctx, cfg.Stream)
		if err != nil {
			return err
		}
		for range 10 {
			change(&c)
			c.Epoch++
			c.By = rand.Text()
			c.Made = info.Created
			if _, err = cs.write(ctx, n, &c, at); !errors.Is(err, ErrConflict) {
				return err
			}
			if c, at, err = cs.read(ctx, n); err != nil {
				return err
			}
		}
		return err
	})
}
