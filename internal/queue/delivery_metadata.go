package queue

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// A metadata is what the broker says about a message that it hands out.
type metadata struct {
	seq       uint64 // in the stream
	delivered uint64 // how often, this time counted
	pending   uint64 // how many more wait behind it
	time      time.Time
}

// readMetadata reads the reply subject of a delivered message.
func readMetadata(m *nats.Msg) (metadata, error) {
	if d, ok := cutMetadata(m.Reply); ok {
		return d, nil
	}
	md, err := m.Metadata()
	if err != nil {
		return metadata{}, err
	}
	return metadata{seq: md.Sequence.Stream, delivered: md.NumDelivered, pending: md.NumPending, time: md.Timestamp}, nil
}

// cutMetadata reads the form that all brokers send so far:
// $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>.
// It reports false for any other.
func cutMetadata(reply string) (d metadata, ok bool) {
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
	return metadata{delivered: n[0], seq: n[1], time: time.Unix(0, int64(n[3])), pending: n[4]}, true
}
