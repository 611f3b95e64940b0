package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	internal "github.com/millhand/millhand/internal/stream"
)

// A cursor is how far one partition of a group has been handled, as the stream NS-state keeps it. It is only
// ever written on the condition that the one before is as it was read or written: so of two who believe that
// the partition is theirs, one writes.
type cursor struct {
	Epoch uint64    `json:"epoch"`        // how often the partition has had an owner
	By    string    `json:"by,omitempty"` // whose epoch: two may have read the one before
	Seq   uint64    `json:"seq"`          // everything up to it is settled
	Done  []span    `json:"done,omitempty"`
	Time  time.Time `json:"time,omitzero"` // when the message Seq was stored
	Made  time.Time `json:"made,omitzero"` // when the stream was, whose sequence it is
	Folds []state   `json:"folds,omitempty"`
}

// A state is that of a fold: in the cursor itself, or in chunks beside it.
type state struct {
	Name   string `json:"name"`
	State  []byte `json:"state,omitempty"`
	Chunks string `json:"chunks,omitempty"` // what their subjects end with, before the number of each
	Count  int    `json:"count,omitempty"`
}

// errCursor is wrapped by the error of a cursor that nobody can read. It stays so until another one is written.
var errCursor = errors.New("pipeline/stream: the cursor cannot be read, and stream.ResetGroup writes another one")

// decodeCursor reads a cursor that somebody has written.
func decodeCursor(data []byte) (c cursor, err error) {
	if err := json.Unmarshal(data, &c); err != nil {
		return cursor{}, fmt.Errorf("%w: %w", errCursor, err)
	}
	at := c.Seq
	for _, s := range c.Done {
		if s[0] <= at || s[1] < s[0] {
			return cursor{}, fmt.Errorf("%w: %v does not follow %d", errCursor, s, at)
		}
		at = s[1]
	}
	return c, nil
}

// isOf returns the error of a cursor that cannot be one of this stream.
func (c *cursor) isOf(info *jetstream.StreamInfo) error {
	switch {
	case !c.Made.IsZero() && !c.Made.Equal(info.Created):
		return fmt.Errorf("%w: the cursor is at %d of stream %s as it was made at %v, and that was made again at %v: stream.ResetGroup says where to go on",
			ErrStreamShorter, c.Seq, info.Config.Name, c.Made, info.Created)
	case info.State.LastSeq < c.Seq:
		return fmt.Errorf("%w: the cursor is at %d, and stream %s ends at %d: stream.ResetGroup says where to go on",
			ErrStreamShorter, c.Seq, info.Config.Name, info.State.LastSeq)
	}
	return nil
}

// cursors are those of the partitions of a group.
type cursors struct {
	client *internal.Client
	group  string
}

func (c *cursors) stream() string { return c.client.Namespace() + "-state" }

func (c *cursors) subject(partition int) string {
	return c.client.Namespace() + ".state." + c.group + "." + strconv.Itoa(partition)
}

// open makes the stream where it does not exist.
func (c *cursors) open(ctx context.Context) error {
	_, _, err := c.client.Ensure(ctx, jetstream.StreamConfig{
		Name: c.stream(), Description: "how far groups of pipelines are in streams, and what they have folded",
		Subjects: []string{c.client.Namespace() + ".state.>"}, Storage: jetstream.FileStorage,
		MaxMsgsPerSubject: 1, AllowDirect: true, Duplicates: time.Minute,
	})
	return err
}

// read returns the cursor of a partition as the stream's leader knows it, and its sequence there; 0: there is
// none.
func (c *cursors) read(ctx context.Context, partition int) (found cursor, seq uint64, err error) {
	m, err := c.client.Last(ctx, c.stream(), c.subject(partition))
	switch {
	case errors.Is(err, internal.ErrNotFound):
		return cursor{}, 0, nil
	case err != nil:
		return cursor{}, 0, err
	}
	found, err = decodeCursor(m.Data)
	return found, m.Seq, err
}

// readAny is read for who writes another cursor anyway: one that nobody can read is an empty one. Its epoch
// is later than any that there was, since each is written.
func (c *cursors) readAny(ctx context.Context, partition int) (found cursor, seq uint64, err error) {
	found, seq, err = c.read(ctx, partition)
	if errors.Is(err, errCursor) {
		return cursor{Epoch: seq}, seq, nil
	}
	return found, seq, err
}

// sweep removes the chunks of states that the cursor with this sequence does not name. An owner leaves some who dies before
// he has written his cursor, and whoever writes one without states. What is newer may be a later owner's.
func (c *cursors) sweep(ctx context.Context, partition int, named []state, at uint64) error {
	before := c.subject(partition) + "."
	subjects, err := c.client.Subjects(ctx, c.stream(), before+">")
	if err != nil {
		return err
	}
	left := map[string]bool{}
	for _, subject := range subjects {
		chunks, _, _ := strings.Cut(subject[len(before):], ".")
		left[chunks] = true
	}
	for _, of := range named {
		delete(left, of.Chunks)
	}
	for chunks := range left {
		if _, err := c.client.Purge(ctx, c.stream(), internal.Purge{Subject: before + chunks + ".>", Below: at}); err != nil {
			return err
		}
	}
	return nil
}

// errCursorGone says that there is no cursor where one was: somebody has removed it, or its stream.
var errCursorGone = errors.New("pipeline/stream: the cursor was removed")

// write replaces the cursor whose sequence is after. It returns [ErrConflict] if that is not the last one, and
// errCursorGone if there is none any more.
func (c *cursors) write(ctx context.Context, partition int, next *cursor, after uint64) (seq uint64, err error) {
	body, err := json.Marshal(next)
	if err != nil {
		return 0, err
	}
	m := &nats.Msg{Subject: c.subject(partition), Header: nats.Header{}, Data: body}
	internal.Expect(m, after, m.Subject)
	seq, err = c.client.Publish(ctx, m)
	if !errors.Is(err, internal.ErrConflict) {
		return seq, err
	}
	// It may be this very write, or the one before it, whose answer was lost: nobody else has the epoch.
	now, at, readErr := c.read(ctx, partition)
	switch {
	case errors.Is(readErr, errCursor):
		return 0, err // no owner writes such a one
	case readErr != nil:
		return 0, readErr
	case at == 0 && after > 0:
		return 0, errCursorGone
	case at != after && now.Epoch == next.Epoch && now.By == next.By && after > 0:
		return c.write(ctx, partition, next, at)
	}
	return 0, err
}
