package stream

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Metadata is what the broker says about a message that it hands out.
type Metadata struct {
	Seq         uint64 // in the stream
	ConsumerSeq uint64 // of all that the consumer handed out
	Delivered   uint64 // how often, this time counted
	Pending     uint64 // how many more wait behind it
	Time        time.Time
}

// ReadMetadata reads the reply subject of a delivered message.
func ReadMetadata(m *nats.Msg) (Metadata, error) {
	if d, ok := cutMetadata(m.Reply); ok {
		return d, nil
	}
	md, err := m.Metadata()
	if err != nil {
		return Metadata{}, err
	}
	return Metadata{
		Seq: md.Sequence.Stream, ConsumerSeq: md.Sequence.Consumer, Delivered: md.NumDelivered, Pending: md.NumPending, Time: md.Timestamp,
	}, nil
}

// cutMetadata reads the form that all brokers send so far:
// $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>.
// It reports false for any other.
func cutMetadata(reply string) (d Metadata, ok bool) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok || strings.Count(rest, ".") != 6 {
		return d, false
	}
	_, rest, _ = strings.Cut(rest, ".") // stream
	_, rest, _ = strings.Cut(rest, ".") // consumer
	var n [5]uint64
	for i := range n {
		var token string
		var err error
		token, rest, _ = strings.Cut(rest, ".")
		if n[i], err = strconv.ParseUint(token, 10, 63); err != nil {
			return d, false
		}
	}
	return Metadata{Delivered: n[0], Seq: n[1], ConsumerSeq: n[2], Time: time.Unix(0, int64(n[3])), Pending: n[4]}, true
}
