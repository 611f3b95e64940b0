package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
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
		return cfg, fmt.Errorf("%w: subject %q has %d wildcards *, and the partition is to be by number %d: publish with the key in a token that is a *, or leave the stream as it is and set PartitionBy of OrderedConfig",
			ErrInvalid, source, wildcards, wildcard)
	}
	cfg.SubjectTransform = &jetstream.SubjectTransformConfig{Source: source, Destination: strings.Join(to, ".")}
	return cfg, nil
}

// madePartitions is what the broker's transform of subjects has of how many partitions it makes.
var madePartitions = regexp.MustCompile(`\{\{\s*[Pp]artition\s*\(\s*(\d+)`)

// manyTokens are the functions of transforms that make any number of tokens.
var manyTokens = regexp.MustCompile(`(?i)\{\{\s*(split|slice)`)

// fits returns what keeps a stream from being read in order.
func (c *OrderedConfig) fits(of *jetstream.StreamConfig) error {
	if of.Retention == jetstream.WorkQueuePolicy {
		return fmt.Errorf("%w: stream %s is a work queue, which a message leaves when somebody has handled it: use NewSource", ErrInvalid, of.Name)
	}
	if of.SubjectTransform == nil || !strings.Contains(c.Subject, partitionToken) {
		return nil
	}
	return c.fitsTransform(of.Name, of.SubjectTransform.Destination)
}

// fitsTransform returns what keeps the partitions from being read that the broker makes.
func (c *OrderedConfig) fitsTransform(stream, to string) error {
	made := madePartitions.FindStringSubmatch(to)
	if made == nil {
		return nil // somebody else puts the numbers there
	}
	if n, err := strconv.Atoi(made[1]); err == nil && n > c.Partitions {
		return fmt.Errorf("%w: stream %s has %d partitions (%s), and Partitions is %d: nobody would read the others; set Partitions to %d",
			ErrInvalid, stream, n, to, c.Partitions, n)
	}
	tokens := strings.Split(to, ".")
	at := slices.IndexFunc(tokens, madePartitions.MatchString)
	if slices.ContainsFunc(tokens[:at], manyTokens.MatchString) {
		return nil // where it is depends on the message
	}
	want := strings.Split(c.Subject, ".")
	for i, token := range want[:min(len(want), at+1)] {
		made := tokens[i]
		switch {
		case token == ">", i == at && token == partitionToken:
			return nil
		case token == "*" || i < at && strings.HasPrefix(made, "{{"):
		case token != made:
			return c.misplaced(stream, to)
		}
	}
	return c.misplaced(stream, to)
}

// misplaced is the error of a Subject that no partition of the broker has.
func (c *OrderedConfig) misplaced(stream, to string) error {
	return fmt.Errorf("%w: stream %s stores its messages as %s, and Subject is %q: write %s where the broker puts the partition, such as %q",
		ErrInvalid, stream, to, c.Subject, partitionToken, example(to))
}

// example is the Subject of partitions that are made so.
func example(to string) string {
	tokens := strings.Split(to, ".")
	for i, token := range tokens {
		switch {
		case madePartitions.MatchString(token):
			tokens[i] = partitionToken
		case strings.HasPrefix(token, "{{"):
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}

// ResetGroup has a group go on at a sequence of its stream, in all partitions, whatever it has handled, and
// forgets what its folds have: after [ErrStreamShorter], for a cursor or a state that cannot be read, or to handle
// something again. Processes that run lose their partitions by it, and take them again. It returns [ErrInvalid] if
// the group has more Partitions, or if the sequence is further than one beyond the end of the stream.
func ResetGroup(ctx context.Context, nc *nats.Conn, cfg OrderedConfig, seq uint64) error {
	return eachCursor(ctx, nc, cfg, func(c *cursor, info *jetstream.StreamInfo) error {
		c.Seq = max(seq, 1) - 1
		return within("the sequence", seq, info)
	})
}

// within returns the error of a sequence to begin at that a stream is not to have next, nor has had.
func within(what string, seq uint64, info *jetstream.StreamInfo) error {
	last := info.State.LastSeq
	if seq <= last+1 {
		return nil
	}
	return fmt.Errorf("%w: %s is %d, and the last message of stream %s is %d: begin at %d at the latest, which is what is stored next",
		ErrInvalid, what, seq, info.Config.Name, last, last+1)
}

// Regroup has a group begin where another one of the same stream is: at the least cursor of its partitions, of
// which there may be another number. What was handled beyond that is handled again, and states of folds stay
// behind. Nothing of the old group may run meanwhile. It returns [ErrInvalid] for a from that has another number
// of Partitions than there are, and [ErrStreamShorter] for one that is beyond the end of the stream.
func Regroup(ctx context.Context, nc *nats.Conn, from, to OrderedConfig) error {
	var least cursor
	first := true
	err := eachPartition(ctx, nc, from, func(cs *cursors, n int) error {
		c, at, err := cs.read(ctx, n)
		switch {
		case err != nil:
			return err
		case at == 0:
			return fmt.Errorf("%w: there is no such one, or nobody has had it", ErrInvalid)
		case first || c.Seq < least.Seq:
			least, first = c, false
		}
		return nil
	})
	if err != nil {
		return err
	}
	return eachCursor(ctx, nc, to, func(c *cursor, info *jetstream.StreamInfo) error {
		c.Seq = least.Seq
		return least.isOf(info)
	})
}

// eachPartition calls f with each partition of a group.
func eachPartition(ctx context.Context, nc *nats.Conn, cfg OrderedConfig, f func(cs *cursors, partition int) error) error {
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
	if _, at, err := cs.readAny(ctx, partitions); err != nil || at > 0 {
		if err == nil {
			err = fmt.Errorf("%w: group %s has more than %d Partitions", ErrInvalid, cfg.Group, partitions)
		}
		return err
	}
	for n := range partitions {
		if err := f(cs, n); err != nil {
			return fmt.Errorf("partition %d of group %s: %w", n, cfg.Group, err)
		}
	}
	return nil
}

// eachCursor has all partitions of a group go on where change says, without what folds have. The epoch goes up, so that
// an owner loses the partition.
func eachCursor(ctx context.Context, nc *nats.Conn, cfg OrderedConfig, change func(c *cursor, of *jetstream.StreamInfo) error) error {
	return eachPartition(ctx, nc, cfg, func(cs *cursors, n int) error {
		info, err := cs.client.Info(ctx, cfg.Stream)
		if err != nil {
			return err
		}
		for range 10 {
			c, at, err := cs.readAny(ctx, n)
			if err != nil {
				return err
			}
			c = cursor{Epoch: c.Epoch + 1, By: rand.Text(), Made: info.Created}
			if err := change(&c, info); err != nil {
				return err
			}
			at, err = cs.write(ctx, n, &c, at)
			if err == nil {
				return cs.sweep(ctx, n, nil, at)
			}
			if !errors.Is(err, ErrConflict) {
				return err
			}
		}
		return ErrConflict
	})
}
