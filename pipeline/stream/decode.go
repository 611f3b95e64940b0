package stream

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// A Message is what a stream keeps. Header and Data are the decoder's.
type Message struct {
	Subject string
	Seq     uint64    // in the stream
	Time    time.Time // when it was stored, by the broker's clock
	Header  nats.Header
	Data    []byte
}

// JSON decodes a message whose data is a JSON value: stream.JSON[Order] is the decoder of orders. Fields
// that T does not have are passed over.
func JSON[T any](m Message) (T, error) {
	var v T
	err := json.Unmarshal(m.Data, &v)
	return v, err
}

// A DecodeError says which message is not what was expected. A decoder that is to pass such messages
// over returns a value that says so, without an error, and the flow filters it.
type DecodeError struct {
	Stream, Subject string
	Seq             uint64
	Err             error // the decoder's
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("decode message %d of stream %s on %s: %v", e.Seq, e.Stream, e.Subject, e.Err)
}

// Unwrap returns the decoder's error.
func (e *DecodeError) Unwrap() error { return e.Err }
