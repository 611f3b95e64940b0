package stream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How much one request of a [Client.Past] asks for, at most, and when the broker removes the consumer of
// one that does not ask any more.
const (
	pastPage  = 500
	pastBytes = 8 << 20
	pastIdle  = time.Minute
)

// pastPatience is how long a read that has begun waits for the broker. Three servers that are busy take longer than
// [SetupTimeout] to have a leader again.
const pastPatience = 30 * time.Second

// ErrRemade says that a stream was removed and made again while it was read.
var ErrRemade = errors.New("the stream was removed and made again meanwhile")

// A Past says what of a stream is read. The zero value is all of it.
type Past struct {
	Subject string    // wildcards allowed; "": all
	From    uint64    // sequence
	Since   time.Time // by the broker's clock; it goes without From
}

// Past yields what a stream has when it begins, oldest first, the error last. What is removed before its
// turn is not yielded. At most [pastPage] messages and about [pastBytes] of them are in memory.
//
// It reads through a consumer without acks, which it removes at the end: unlike a request for a page of a
// long stream that costs the broker by what is read. A stream that keeps messages until they are handled
// would take such a consumer for somebody who handles them, and is read as [Client.Scan] does.
func (c *Client) Past(ctx context.Context, stream string, what Past) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		info, err := retryRead(ctx, Within(SetupTimeout), func(ctx context.Context) (*jetstream.StreamInfo, error) {
			return c.Info(ctx, stream)
		}, IsRefusal)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		r := &pastReader{client: c, stream: stream, what: what, made: info.Created, upTo: info.State.LastSeq, next: max(what.From, 1)}
		if info.Config.Retention != jetstream.LimitsPolicy {
			r.scan(ctx, yield)
			return
		}
		defer r.close(ctx)
		if err := r.read(ctx, yield); err != nil {
			yield(nil, fmt.Errorf("read %s: %w", stream, err))
		}
	}
}

// A pastReader reads one stream up to where it ended once.
type pastReader struct {
	client *Client
	stream string
	what   Past
	made   time.Time // when the stream was
	upTo   uint64
	next   uint64 // the sequence to go on at

	consumer string   // "": none
	left     []string // consumers that may be there still
	inbox    *nats.Subscription
	messages chan *nats.Msg
	pulls    int
	last     uint64 // what the consumer has sent, by its own count
}

// errInterrupted says that a page is not whole. What is missing is read again.
var errInterrupted = errors.New("messages were lost on their way")

func (r *pastReader) scan(ctx context.Context, yield func(*Message, error) bool) {
	what := Scan{Subject: cmp.Or(r.what.Subject, ">"), From: r.what.From, Since: r.what.Since, UpTo: r.upTo}
	for m, err := range r.client.Scan(ctx, r.stream, what) {
		if !yield(m, err) || err != nil {
			return
		}
	}
	if err := r.check(ctx); err != nil {
		yield(nil, fmt.Errorf("read %s: %w", r.stream, err))
	}
}

// read yields page after page. Trouble is forgiven as long as messages come.
func (r *pastReader) read(ctx context.Context, yield func(*Message, error) bool) error {
	alive, pause := Within(pastPatience), RetryPause
	for r.next <= r.upTo {
		page, err := r.page(ctx)
		if !r.tell(page, yield) {
			return nil
		}
		if len(page) > 0 {
			alive, pause = Within(pastPatience), RetryPause
		}
		if err == nil && len(page) > 0 {
			continue
		}
		if err == nil {
			var done bool
			if done, err = r.done(ctx); done {
				return nil
			} // else, and without an error, the consumer is at a replica that lags
		}
		if errors.Is(err, ErrRemade) || errors.Is(err, nats.ErrConnectionClosed) || IsRefusal(err) {
			return err
		}
		if late := alive(); late != nil {
			return errors.Join(late, err)
		}
		if err := Sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, MaxRetryPause)
	}
	return nil
}

// tell yields a page as far as it is to be read, and reports whether more is wanted.
func (r *pastReader) tell(page []*Message, yield func(*Message, error) bool) bool {
	for _, m := range page {
		if m.Seq > r.upTo || !yield(m, nil) {
			return false
		}
		r.next = m.Seq + 1
	}
	return true
}

// done reports whether the leader of the same stream as before has nothing more that is to be read.
func (r *pastReader) done(ctx context.Context) (bool, error) {
	what := Scan{Subject: cmp.Or(r.what.Subject, ">"), Since: r.what.Since}
	m, err := r.client.read(ctx, r.stream, what.query(r.next))
	if errors.Is(err, ErrNotFound) || err == nil && m.Seq > r.upTo {
		err = r.check(ctx)
		return err == nil, err
	}
	return false, err
}

// check returns an error if the stream is not the one that it was.
func (r *pastReader) check(ctx context.Context) error {
	info, err := r.client.Info(ctx, r.stream)
	if err == nil && !info.Created.Equal(r.made) {
		return ErrRemade
	}
	return err
}

// page returns what comes next, and after an error what had come before. Without both the consumer has
// nothing.
func (r *pastReader) page(ctx context.Context) (page []*Message, err error) {
	if r.consumer == "" {
		if err := r.open(ctx); err != nil {
			return nil, err
		}
	}
	page, err = r.pull(ctx)
	if err != nil {
		r.close(ctx)
	}
	return page, err
}

// pull asks for a page.
func (r *pastReader) pull(ctx context.Context) (page []*Message, err error) {
	room := max(pastBytes, int(2*r.client.nc.MaxPayload())) // any message has room
	body, err := json.Marshal(map[string]any{"batch": pastPage, "max_bytes": room, "no_wait": true})
	if err != nil {
		return nil, err
	}
	subject := r.client.API("CONSUMER.MSG.NEXT." + r.stream + "." + r.consumer)
	heed, done := r.client.Heed(ctx, subject)
	defer done()
	r.pulls++
	reply := strings.TrimSuffix(r.inbox.Subject, "*") + strconv.Itoa(r.pulls)
	if err := r.client.nc.PublishRequest(subject, reply, body); err != nil {
		return nil, unconnected(err)
	}
	silence := time.NewTimer(RequestTimeout)
	defer silence.Stop()
	for len(page) < pastPage {
		select {
		case <-heed.Done():
			return page, r.client.denied(subject, Denial(heed, context.Cause(heed)))
		case <-silence.C:
			return page, errInterrupted
		case m := <-r.messages:
			silence.Reset(RequestTimeout)
			if m.Reply == "" && m.Subject != reply {
				continue // the broker's last word on a page that was full
			}
			if m.Reply == "" {
				return page, endOfPage(m.Header.Get(HeaderStatus), m.Header.Get(HeaderDescription))
			}
			at, err := m.Metadata()
			if err != nil || at.Sequence.Consumer != r.last+1 {
				return page, errInterrupted
			}
			r.last++
			page = append(page, pastMessage(m, at))
			if at.NumPending == 0 {
				return page, nil
			}
		}
	}
	return page, nil
}

// endOfPage reads the status that ended a page.
func endOfPage(status, text string) error {
	switch {
	case status == "404", status == "408", status == "409" && (text == "Message Size Exceeds MaxBytes" || text == "Batch Completed"):
		return nil
	case status == statusNoResponders:
		return nats.ErrNoResponders
	}
	return fmt.Errorf("the broker says %s %s", status, text)
}

func pastMessage(m *nats.Msg, at *nats.MsgMetadata) *Message {
	header := m.Header
	if header == nil {
		header = nats.Header{}
	}
	return &Message{Subject: m.Subject, Seq: at.Sequence.Stream, Header: header, Data: m.Data, Time: at.Timestamp}
}

// open makes a consumer of the same stream as before.
func (r *pastReader) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	if err := r.check(ctx); err != nil {
		return err
	}
	cfg := jetstream.ConsumerConfig{
		FilterSubject: r.what.Subject, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.next,
		AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: pastIdle, MemoryStorage: true, Replicas: 1,
	}
	if r.next <= 1 && !r.what.Since.IsZero() {
		since := r.what.Since.UTC()
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &since
	}
	made, err := r.client.CreateConsumer(ctx, r.stream, cfg)
	if err != nil {
		return err
	}
	r.consumer, r.last = made.CachedInfo().Name, 0
	r.messages = make(chan *nats.Msg, pastPage+2) // and the words that end two pages
	r.inbox, err = r.client.nc.ChanSubscribe(r.client.nc.NewInbox()+".*", r.messages)
	if err != nil {
		r.close(ctx)
	}
	return err
}

// close removes the consumer, also after ctx has ended, and those that it could not remove before. The
// broker does so itself if it does not hear of it.
func (r *pastReader) close(ctx context.Context) {
	if r.inbox != nil {
		_ = r.inbox.Unsubscribe() // fails with the connection only
		r.inbox = nil
	}
	if r.consumer != "" {
		r.left = append(r.left, r.consumer)
		r.consumer = ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), RequestTimeout)
	defer cancel()
	for len(r.left) > 0 && r.client.nc.IsConnected() {
		var answer struct{}
		if r.client.Request(ctx, "CONSUMER.DELETE."+r.stream+"."+r.left[0], struct{}{}, &answer) != nil {
			return
		}
		r.left = r.left[1:] // or it was not there
	}
}
