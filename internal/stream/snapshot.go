package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// snapshotChunk is how much one message of a snapshot has, at most: of one that is read and of one
	// that is restored.
	snapshotChunk = 128 << 10
	// snapshotWindow is how much of a snapshot is on its way at once, and so in memory.
	snapshotWindow = 2 << 20
	// snapshotPatience is how long the next message of a snapshot may take. The server gives up a reader
	// or a writer that is silent for five seconds.
	snapshotPatience = 30 * time.Second
	// restoredWithin is how long a server has to make a stream of what it was sent.
	restoredWithin = 5 * time.Minute
)

// A SnapshotState is what a stream has when its snapshot is taken.
type SnapshotState struct {
	Messages  uint64 `json:"messages"`
	Bytes     uint64 `json:"bytes"`
	FirstSeq  uint64 `json:"first_seq"`
	LastSeq   uint64 `json:"last_seq"`
	Consumers int    `json:"consumer_count"`
}

// A Snapshot is a stream as it was at one moment, in the form in which the server tells it, without its
// consumers. It must be read to its end, or closed.
type Snapshot struct {
	Config json.RawMessage // of the stream, as the server has it
	State  SnapshotState

	ctx    context.Context //nolint:containedctx // a reader has no other way to be told
	client *Client
	sub    *nats.Subscription
	rest   []byte // of the message that is being read
	end    error  // once there is no more
}

// Snapshot begins to read a stream as it is now. What is written meanwhile goes on. It ends with ctx.
// The error is [jetstream.ErrStreamNotFound] if there is none.
func (c *Client) Snapshot(ctx context.Context, stream string) (*Snapshot, error) {
	sub, err := c.nc.SubscribeSync(c.nc.NewInbox())
	if err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", stream, err)
	}
	var answer struct {
		Error  *jetstream.APIError `json:"error"`
		Config json.RawMessage     `json:"config"`
		State  SnapshotState       `json:"state"`
	}
	err = c.requestWithin(ctx, SetupTimeout, "STREAM.SNAPSHOT."+stream, map[string]any{
		"deliver_subject": sub.Subject, "no_consumers": true, "chunk_size": snapshotChunk, "window_size": snapshotWindow,
	}, &answer)
	switch {
	case err == nil && answer.Error != nil && answer.Error.ErrorCode == CodeStreamNotFound:
		err = jetstream.ErrStreamNotFound
	case err == nil && answer.Error != nil:
		err = answer.Error
	}
	if err != nil {
		_ = sub.Unsubscribe() // fails with the connection only
		return nil, fmt.Errorf("snapshot of %s: %w", stream, err)
	}
	return &Snapshot{Config: answer.Config, State: answer.State, ctx: ctx, client: c, sub: sub}, nil
}

// Read implements [io.Reader].
func (s *Snapshot) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.end != nil {
			return 0, s.end
		}
		s.rest, s.end = s.next()
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// next waits for the next message, with an error for the last one.
func (s *Snapshot) next() ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, snapshotPatience)
	defer cancel()
	m, err := s.sub.NextMsgWithContext(ctx)
	switch {
	case s.ctx.Err() != nil:
		return nil, context.Cause(s.ctx)
	case err != nil:
		return nil, fmt.Errorf("the broker sends no more: %w", unconnected(err))
	}
	if m.Reply != "" {
		if err := s.client.nc.Publish(m.Reply, nil); err != nil { // or the server stops after its window
			return nil, unconnected(err)
		}
	}
	if len(m.Data) > 0 {
		return m.Data, nil
	}
	switch status := m.Header.Get(HeaderStatus); status {
	case "", "204":
		return nil, io.EOF
	case "408":
		if err := s.client.lastDenial(); err != nil {
			return nil, err
		}
		fallthrough
	default:
		return nil, fmt.Errorf("the broker gave it up: %s %s", status, m.Header.Get(HeaderDescription))
	}
}

// Err returns why there is no more to read, nil if there is, or if it was read to its end.
func (s *Snapshot) Err() error {
	if errors.Is(s.end, io.EOF) {
		return nil
	}
	return s.end
}

// Close ends the reading. The server notices by itself.
func (s *Snapshot) Close() error { return s.sub.Unsubscribe() }

// RestoreStream makes a stream of a snapshot that a [Snapshot] read. One that exists is refused, with
// [ErrExists]. A stream that was made in part, since the snapshot is not whole, is removed.
func (c *Client) RestoreStream(ctx context.Context, stream string, config json.RawMessage, state SnapshotState, snapshot io.Reader) error {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Deliver string              `json:"deliver_subject"`
	}
	err := c.requestWithin(ctx, SetupTimeout, "STREAM.RESTORE."+stream, map[string]any{"config": config, "state": state}, &answer)
	switch {
	case err == nil && answer.Error != nil && answer.Error.ErrorCode == CodeRestoreExists:
		err = ErrExists
	case err == nil && answer.Error != nil:
		err = answer.Error
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", stream, err)
	}
	if err := c.send(ctx, answer.Deliver, snapshot); err != nil {
		if gone := c.removeStream(context.WithoutCancel(ctx), stream); gone != nil {
			err = errors.Join(err, fmt.Errorf("and what there is of it could not be removed: %w", gone))
		}
		return fmt.Errorf("restore %s: %w", stream, err)
	}
	return nil
}

// send sends a snapshot to who restores it.
func (c *Client) send(ctx context.Context, to string, snapshot io.Reader) error {
	chunk := make([]byte, min(snapshotChunk, c.nc.MaxPayload()))
	send := c.sendFirst
	for ; ; send = c.sendChunk {
		n, err := io.ReadFull(snapshot, chunk)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		if n > 0 {
			if err := send(ctx, to, chunk[:n], snapshotPatience); err != nil {
				return err
			}
		}
		if last {
			return c.sendChunk(ctx, to, nil, restoredWithin)
		}
	}
}

// heardAgain is the pause before a first chunk is sent again that nobody heard.
const heardAgain = 50 * time.Millisecond

// sendFirst sends a first chunk. In a cluster another server may restore, of which the one that this client is connected
// to does not know yet that it listens.
func (c *Client) sendFirst(ctx context.Context, to string, chunk []byte, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := c.sendChunk(ctx, to, chunk, patience)
		if !errors.Is(err, nats.ErrNoResponders) || Sleep(ctx, heardAgain) != nil {
			return err
		}
	}
}

func (c *Client) sendChunk(ctx context.Context, to string, chunk []byte, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := c.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: to, Data: chunk})
	if err != nil {
		return c.denied(to, unconnected(err))
	}
	if len(m.Data) == 0 {
		return nil
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if answer.Error != nil {
		return answer.Error
	}
	return nil
}

// RemoveStream removes a stream with all that is in it. It is no error if there is none.
func (c *Client) RemoveStream(ctx context.Context, stream string) error {
	if err := c.removeStream(ctx, stream); err != nil {
		return fmt.Errorf("remove %s: %w", stream, err)
	}
	return nil
}

func (c *Client) removeStream(ctx context.Context, stream string) error {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := c.requestWithin(ctx, SetupTimeout, "STREAM.DELETE."+stream, struct{}{}, &answer); err != nil {
		return err
	}
	if e := answer.Error; e != nil && e.ErrorCode != CodeStreamNotFound {
		return e
	}
	return nil
}

// MayRestore returns an error that is a [nats.ErrPermissionViolation] if this user may not restore a
// stream of that name. It changes nothing.
func (c *Client) MayRestore(ctx context.Context, stream string) error {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	// What names nothing to restore is a bad request to whoever may ask.
	if err := c.requestWithin(ctx, SetupTimeout, "STREAM.RESTORE."+stream, nil, &answer); err != nil {
		return err
	}
	to := "$JS.SNAPSHOT.RESTORE." + stream + ".none" // where nobody listens
	err := c.sendChunk(ctx, to, nil, RequestTimeout)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil
	}
	return err
}
