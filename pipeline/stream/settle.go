package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/textproto"
	"time"

	"github.com/nats-io/nats.go"

	internal "github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/pipeline"
)

// held is a message in hand.
type held struct {
	Message
	of      string // stream
	attempt int
	reply   string
	lease   lease
	exited  bool // the decoder has ended its goroutine over it

	// Of renewals.
	kept       bool
	prev, next *held
}

// ID is the message's: where it is stored.
func (h *held) ID() string { return fmt.Sprintf("%s/%d", h.of, h.Seq) }

// Trace is where the message comes from, as its headers say.
func (h *held) Trace() pipeline.Trace { return traceOf(h.Header) }

func traceOf(h nats.Header) pipeline.Trace {
	get := func(key string) string {
		if v := h.Get(key); v != "" {
			return v
		}
		return h.Get(textproto.CanonicalMIMEHeaderKey(key)) // which keys of a program may have become
	}
	return pipeline.Trace{Parent: get("traceparent"), State: get("tracestate")}
}

// hold reads a message that a request brought which was sent at sent.
func (s *shared) hold(m *nats.Msg, sent time.Time) (*held, error) {
	at, err := internal.ReadMetadata(m)
	if err != nil {
		return nil, err
	}
	return &held{
		Message: messageOf(m, &at), of: s.cfg.Stream, attempt: int(at.Delivered), reply: m.Reply, //nolint:gosec // a count
		lease: lease{lasts: leaseOf(time.Duration(s.renewals.ackWait.Load())), since: sent, cause: ErrLeaseLost},
	}, nil
}

// messageOf is a delivery as decoders see it.
func messageOf(m *nats.Msg, at *internal.Metadata) Message {
	header := m.Header
	if header == nil {
		header = nats.Header{}
	}
	return Message{Subject: m.Subject, Seq: at.Seq, Time: at.Time, Header: header, Data: m.Data}
}

// An answer is what the broker is told of a message.
type answer struct {
	to   *held
	body []byte
}

// Settle tells the broker how messages ended. A group is in hand until the broker has confirmed the last of
// it, which it does in their order.
func (s *shared) Settle(ctx context.Context, ends []pipeline.End) error {
	answers := make([]answer, 0, len(ends))
	for i := range ends {
		if h, ok := ends[i].Ref.(*held); ok && h.lease.Err() == nil {
			answers = append(answers, answer{h, s.verdict(ctx, h, &ends[i])})
		}
	}
	all := make([]*held, len(answers))
	for i := range answers {
		all[i] = answers[i].to
	}
	defer s.renewals.release(all)
	return s.tell(ctx, answers)
}

// Lose implements [pipeline.Loser]: the messages come again when their leases have ended at the broker.
func (s *shared) Lose(refs []any) {
	for _, ref := range refs {
		if h, ok := ref.(*held); ok {
			s.renewals.release([]*held{h})
			h.lease.cancel(ErrLeaseLost)
		}
	}
}

// tell sends answers until the broker has confirmed them, or they are lost.
func (s *shared) tell(ctx context.Context, answers []answer) error {
	var last error
	for pause := internal.RetryPause; ; pause = min(2*pause, internal.MaxRetryPause) {
		alive := answers[:0]
		for _, a := range answers {
			if a.to.lease.Err() == nil {
				alive = append(alive, a)
			}
		}
		if answers = alive; len(answers) == 0 {
			return last
		}
		if last = s.tellOnce(ctx, answers); last == nil {
			return nil
		}
		if internal.Sleep(ctx, pause) != nil {
			return last
		}
	}
}

func (s *shared) tellOnce(ctx context.Context, answers []answer) error {
	end := len(answers) - 1
	for _, a := range answers[:end] {
		if err := s.nc.Publish(a.to.reply, a.body); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, internal.RequestTimeout)
	defer cancel()
	_, err := s.nc.RequestWithContext(ctx, answers[end].to.reply, answers[end].body)
	return err
}

// verdict returns what the broker is told of an end. What has failed for good it gives to Dead before.
func (s *shared) verdict(ctx context.Context, h *held, end *pipeline.End) []byte {
	const ack, again = "+ACK", "-NAK"
	err := end.Err
	switch {
	case err == nil:
		return []byte(ack)
	case errors.Is(err, pipeline.ErrHandedBack):
		return handedBack()
	}
	why, final := reason(err)
	if final || h.attempt >= s.cfg.Attempts {
		dead := &Dead{Message: h.Message, Stream: h.of, Reason: why, Attempt: h.attempt, Err: err, Meta: end.Meta}
		if bury(ctx, s.ending(), s.log, s.cfg.Dead, dead) != nil {
			return handedBack()
		}
		s.log.WarnContext(ctx, "a message has failed for good", slog.String("id", h.ID()), slog.String("reason", string(why)),
			slog.Int("attempt", h.attempt), slog.Any("err", err))
		return []byte(ack)
	}
	delay := s.delay(h.attempt, err)
	if delay <= 0 {
		return []byte(again)
	}
	s.parked.enter(ctx, s.ending(), delay)
	return fmt.Appendf(nil, `-NAK {"delay":%d}`, delay.Nanoseconds())
}

// handedBack is the answer for a message that somebody else may have. It stays away for longer than a request of
// this process may still wait at the broker, which would get it at once, again and again, each time one delivery
// more.
func handedBack() []byte {
	return fmt.Appendf(nil, `-NAK {"delay":%d}`, (requestLifetime + 200*time.Millisecond).Nanoseconds())
}

// delay is how long a message that has failed waits.
func (s *shared) delay(attempt int, err error) (d time.Duration) {
	if l, ok := errors.AsType[later](err); ok {
		return l.RetryAfter()
	}
	if err := contained(func() error { d = s.cfg.Backoff(attempt); return nil }); err != nil {
		s.log.Error("a Backoff failed: the default is taken", slog.Any("err", err))
		return backoff(attempt)
	}
	return d
}

// parked counts messages that wait at the broker for their next attempt.
type parked struct{ room chan struct{} }

// enter waits for a place, and holds it for d. At the end of a run nobody waits.
func (p parked) enter(ctx context.Context, over <-chan struct{}, d time.Duration) {
	select {
	case p.room <- struct{}{}:
		time.AfterFunc(d, func() { <-p.room })
	case <-over:
	case <-ctx.Done():
	}
}
