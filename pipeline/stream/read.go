package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	internal "github.com/millhand/millhand/internal/stream"
)

// ErrInvalid is wrapped by the error of a configuration that cannot be meant, and of a consumer that does not
// fit.
var ErrInvalid = errors.New("pipeline/stream: invalid")

// ErrRemade is wrapped by the error of a stream that was removed and made again while it was read.
var ErrRemade = internal.ErrRemade

// ReadConfig says what of a stream is read.
type ReadConfig struct {
	Stream  string    // has to be there
	Subject string    // wildcards allowed; empty: all
	FromSeq uint64    // the first sequence; 0: from the oldest message
	Since   time.Time // leaves out what was stored before, by the broker's clock; zero: nothing. Not with FromSeq
	Domain  string    // of JetStream; empty: the connection's own
}

// Read returns the past of a stream: what it has when the sequence is ranged over, oldest first. It
// ends there, whatever is stored meanwhile. Each range reads anew; [flow.FromErr] takes it as it is.
//
// An error is the last thing that is yielded: [ErrInvalid], a stream that is not there or that was made
// again meanwhile ([ErrRemade]), a message that decode refuses ([*DecodeError]), a permission that is
// missing, the cause of ctx, or a broker that has not answered for five seconds at the beginning, or for
// thirty later on. A broker that comes back before is read on from the next message, so none is left out
// or comes twice. What was removed from the stream before its turn does not come.
//
// Messages are read 500 at a time and at most about 8 MiB, or twice the largest message that the broker
// takes if that is more. They are read through a consumer that keeps nothing, needs no acks, and is
// removed when the sequence ends or the loop is left; if this process dies, by the broker after a
// minute. A stream that keeps messages until somebody has handled them (interest or work queue) is read
// without one, since that would count as somebody; it then costs the broker more.
//
// The user of nc needs, of the JetStream API, STREAM.INFO and STREAM.MSG.GET of the stream, and
// CONSUMER.CREATE, CONSUMER.MSG.NEXT and CONSUMER.DELETE of its consumers.
//
// [flow.FromErr]: https://pkg.go.dev/github.com/millhand/millhand/flow#FromErr
func Read[T any](ctx context.Context, nc *nats.Conn, cfg ReadConfig, decode func(Message) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if nc == nil || decode == nil {
			yield(none, fmt.Errorf("%w: Read needs a connection and a decoder", ErrInvalid))
			return
		}
		if err := cfg.check(); err != nil {
			yield(none, err)
			return
		}
		client, err := internal.New(nc, internal.Config{Domain: cfg.Domain, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			yield(none, fmt.Errorf("%w: %w", ErrInvalid, err))
			return
		}
		defer client.Close()
		past := internal.Past{Subject: cfg.Subject, From: cfg.FromSeq, Since: cfg.Since}
		for m, err := range client.Past(ctx, cfg.Stream, past) {
			if err != nil {
				yield(none, err)
				return
			}
			v, err := decode(Message{Subject: m.Subject, Seq: m.Seq, Time: m.Time, Header: m.Header, Data: m.Data})
			if err != nil {
				yield(none, &DecodeError{Stream: cfg.Stream, Seq: m.Seq, Subject: m.Subject, Err: err})
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (c ReadConfig) check() error {
	switch {
	case c.Stream == "":
		return fmt.Errorf("%w: Stream is empty: name the stream to read", ErrInvalid)
	case c.FromSeq > 0 && !c.Since.IsZero():
		return fmt.Errorf("%w: FromSeq and Since are both set: set one", ErrInvalid)
	}
	return nil
}
