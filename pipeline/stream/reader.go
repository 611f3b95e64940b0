package stream

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	internal "github.com/millhand/millhand/internal/stream"
)

// How long a request for messages waits at the broker, and how much longer its closing status may take. It
// is short, since the end of a pipeline waits for it: see docs/decisions/0003.
const (
	requestLifetime = time.Second
	closingGrace    = 2 * time.Second
	maxRequest      = 1000 // messages
	reopenPause     = 100 * time.Millisecond
	reopenPauseMax  = 2 * time.Second
)

// A reader asks a consumer for as many messages as there is room for, with one request at a time, and begins
// again wherever the connection, the consumer or its leader was lost. Its functions are called on the
// goroutine of run.
type reader struct {
	client *internal.Client
	log    *slog.Logger
	wake   chan struct{} // there is more room; capacity 1

	// open returns the consumer to ask. An error for which final reports true ends run.
	open  func(ctx context.Context) (consumer, error)
	final func(err error) bool
	room  func() (messages, bytes int) // 0 bytes: any number
	// came takes messages, whose request was sent at sent. With an error they were not the next ones of
	// the consumer, which is then opened again.
	came  func(ms []*nats.Msg, sent time.Time) error
	acked bool // what is on its way at the end has to be taken

	// over, if set, is told that the request in flight brings nothing more, and whether the first message of it was
	// larger than what it was to bring.
	over func(refused bool)

	consumer   consumer
	inbox      string // with the dot before the number of a request
	messages   chan *nats.Msg
	sub        *nats.Subscription
	reconnects uint64 // of the connection before the inbox was opened
	overdue    *time.Timer
	failing    time.Duration // the last pause

	request int // its number
	asked   int // for so many messages
	left    int // that it may still bring; 0: none is in flight
	sent    time.Time
	pin     string // which pinned client of a priority group this is
}

// A consumer is where messages are asked for.
type consumer struct {
	stream, name string
	group        string // of its priorities, if it has any
	priority     int
	minPending   int64
	batch        int           // that a request may ask for at most; 0: any
	lifetime     time.Duration // of a request
}

// run reads until ctx ends.
func (r *reader) run(ctx context.Context) error {
	r.overdue = time.NewTimer(time.Hour)
	defer r.overdue.Stop()
	if err := r.reopen(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	defer r.close()
	nc := r.client.Conn()
	connection := nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer nc.RemoveStatusListener(connection)
	for {
		var err error
		select {
		case <-ctx.Done():
			if r.acked {
				r.linger(connection)
			}
			return nil
		case <-r.wake:
			err = r.ask(ctx)
		case m := <-r.messages:
			err = r.receive(ctx, m)
		case <-r.overdue.C:
			if r.left > 0 {
				r.log.WarnContext(ctx, "a request for messages was not answered: asking again")
				err = r.reopen(ctx)
			}
		case <-connection:
			if !nc.IsConnected() || nc.Stats().Reconnects != r.reconnects {
				err = r.reopen(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
}

// reopen begins with a new inbox, for as long as it takes.
func (r *reader) reopen(ctx context.Context) error {
	for {
		r.close()
		if r.left > 0 {
			r.end(false)
		}
		err := r.subscribe(ctx)
		if err == nil {
			return r.ask(ctx)
		}
		if r.final(err) || errors.Is(err, nats.ErrConnectionClosed) {
			return err
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop: no failure
		}
		level := slog.LevelDebug // it was said, or the connection says so itself
		if r.failing == 0 && !errors.Is(err, nats.ErrReconnectBufExceeded) {
			level = slog.LevelWarn
		}
		r.log.Log(ctx, level, "cannot read yet: trying again", slog.Any("err", err))
		if !r.rest(ctx) {
			return nil // likewise
		}
	}
}

// rest waits, a little longer each time. It reports whether ctx goes on.
func (r *reader) rest(ctx context.Context) bool {
	r.failing = min(max(2*r.failing, reopenPause), reopenPauseMax)
	return internal.Sleep(ctx, r.failing) == nil
}

func (r *reader) subscribe(ctx context.Context) (err error) {
	nc := r.client.Conn()
	r.reconnects = nc.Stats().Reconnects
	if r.consumer, err = r.open(ctx); err != nil {
		return err
	}
	inbox := nc.NewInbox()
	r.inbox = inbox + "."
	r.messages = make(chan *nats.Msg, 2*maxRequest)
	r.sub, err = nc.ChanSubscribe(inbox+".*", r.messages)
	return err
}

// close drops the inbox, and takes what had already come.
func (r *reader) close() {
	if r.sub == nil {
		return
	}
	_ = r.sub.Unsubscribe() // fails with the connection only
	r.sub = nil
	var came []*nats.Msg
	for {
		select {
		case m := <-r.messages:
			if delivered(m) && r.acked {
				came = append(came, m)
			}
			continue
		default:
		}
		break
	}
	if len(came) > 0 {
		_ = r.came(came, r.sent) // it is opened again anyway
	}
}

// ask sends a request for all there is room for, unless one is in flight.
func (r *reader) ask(ctx context.Context) error {
	if r.left > 0 {
		return nil
	}
	n, bytes := r.room()
	n = min(n, maxRequest)
	if r.consumer.batch > 0 {
		n = min(n, r.consumer.batch)
	}
	if n < 1 {
		return nil
	}
	body, err := json.Marshal(struct {
		Batch      int           `json:"batch"`
		MaxBytes   int           `json:"max_bytes,omitempty"`
		Expires    time.Duration `json:"expires"`
		Group      string        `json:"group,omitempty"`
		ID         string        `json:"id,omitempty"`
		Priority   int           `json:"priority,omitempty"`
		MinPending int64         `json:"min_pending,omitempty"`
	}{n, bytes, r.consumer.lifetime, r.consumer.group, r.pin, r.consumer.priority, r.consumer.minPending})
	if err != nil {
		return err
	}
	r.request++
	r.asked, r.left, r.sent = n, n, time.Now()
	r.overdue.Reset(r.consumer.lifetime + closingGrace)
	subject := r.client.API("CONSUMER.MSG.NEXT." + r.consumer.stream + "." + r.consumer.name)
	if err := r.client.Conn().PublishRequest(subject, r.inbox+strconv.Itoa(r.request), body); err != nil {
		if !r.rest(ctx) {
			return nil // asked to stop: no failure
		}
		return r.reopen(ctx)
	}
	return nil
}

// end notes that the request in flight brings nothing more.
func (r *reader) end(refused bool) {
	r.left = 0
	r.overdue.Stop()
	if r.over != nil {
		r.over(refused)
	}
}

// delivered tells a message of the stream from the broker's word about a request.
func delivered(m *nats.Msg) bool { return strings.HasPrefix(m.Reply, "$JS.ACK.") }

// receive takes m and whatever else is there already.
func (r *reader) receive(ctx context.Context, m *nats.Msg) error {
	var came []*nats.Msg
	for {
		if !delivered(m) {
			if r.take(came) != nil {
				return r.reopen(ctx)
			}
			return r.status(ctx, m)
		}
		if id := m.Header.Get("Nats-Pin-Id"); id != "" {
			r.pin = id
		}
		came = append(came, m)
		select {
		case m = <-r.messages:
			continue
		default:
		}
		if r.take(came) != nil {
			return r.reopen(ctx)
		}
		return r.ask(ctx)
	}
}

func (r *reader) take(came []*nats.Msg) error {
	if len(came) == 0 {
		return nil
	}
	r.failing = 0
	if r.left = max(r.left-len(came), 0); r.left == 0 {
		r.overdue.Stop()
	}
	return r.came(came, r.sent)
}

// Descriptions of a status 409 after which the consumer is as it was.
const (
	batchCompleted = "Batch Completed"
	tooLarge       = "Message Size Exceeds MaxBytes"
)

// status handles the broker's word about a request.
func (r *reader) status(ctx context.Context, m *nats.Msg) error {
	status, text := m.Header.Get(internal.HeaderStatus), m.Header.Get(internal.HeaderDescription)
	if m.Subject != r.inbox+strconv.Itoa(r.request) || status == "100" {
		return r.ask(ctx) // about one that is over
	}
	r.end(text == tooLarge && r.left == r.asked)
	switch {
	case status == "404", status == "408", text == batchCompleted, text == tooLarge:
		r.failing = 0
		return r.ask(ctx)
	case status == "423": // another client is pinned
		r.pin = ""
		return r.ask(ctx)
	}
	r.log.WarnContext(ctx, "a request for messages was refused", slog.String("status", status), slog.String("reason", text))
	if !r.rest(ctx) {
		return nil
	}
	return r.reopen(ctx)
}

// linger waits for the end of the request in flight, so that nothing is on its way afterwards.
func (r *reader) linger(connection <-chan nats.Status) {
	for r.left > 0 {
		select {
		case m := <-r.messages:
			switch {
			case delivered(m):
				_ = r.take([]*nats.Msg{m}) // nothing more is read
			case m.Subject == r.inbox+strconv.Itoa(r.request) && m.Header.Get(internal.HeaderStatus) != "100":
				r.end(false)
			}
		case <-r.overdue.C:
			return
		case <-connection:
			return
		}
	}
}
