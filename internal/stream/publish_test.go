package stream

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
)

// A policy goes on for as long as its time lasts, restores the scene's stream, and counts.
type policy struct {
	alive    func() error
	final    func(error) bool
	restore  func(context.Context) error
	failures []error
	restored int
}

func (p *policy) Alive() error { return p.alive() }

func (p *policy) Final(err error) bool { return p.final != nil && p.final(err) }

func (p *policy) Restore(ctx context.Context) error {
	p.restored++
	return p.restore(ctx)
}

func (p *policy) Failed(err error) { p.failures = append(p.failures, err) }

func (s *scene) policy(within time.Duration) *policy {
	return &policy{alive: Within(within), restore: s.makeStream}
}

// Many writes are in flight at once, and each has its own answer.
func TestManyWritesInFlight(t *testing.T) {
	inScene(t, func(s *scene) {
		const writes = 500
		var all sync.WaitGroup
		seqs := make([]uint64, writes)
		for i := range writes {
			all.Go(func() {
				m := msg("s."+strconv.Itoa(i), "x")
				Expect(m, 0, m.Subject)
				seq, err := s.client.Publish(s.ctx, m)
				if err != nil {
					s.t.Errorf("write %d: %v", i, err)
				}
				seqs[i] = seq
			})
		}
		all.Wait()
		for i, seq := range seqs {
			m, err := s.other.Get(s.ctx, "S", seq)
			if err != nil || m.Subject != "s."+strconv.Itoa(i) {
				s.t.Fatalf("write %d has sequence %d, where %+v is: %v", i, seq, m, err)
			}
		}
		s.client.publisher.mu.Lock()
		defer s.client.publisher.mu.Unlock()
		if p := s.client.publisher; len(p.free) != len(p.calls) {
			s.t.Errorf("%d of %d places are free after all was answered", len(p.free), len(p.calls))
		}
	})
}

func TestConditionDoesNotHold(t *testing.T) {
	inScene(t, func(s *scene) {
		first, err := s.client.Publish(s.ctx, msg("s.a", "1"))
		if err != nil {
			s.t.Fatal(err)
		}
		for what, tt := range map[string]struct {
			seq    uint64
			filter string
			want   error
		}{
			"none on the subject": {0, "s.a", ErrConflict}, "none on a wildcard": {0, "s.*", ErrConflict},
			"one that never was": {first + 100, "s.*", ErrConflict}, "none on another": {0, "s.b", nil},
		} {
			m := msg("s.a", what)
			Expect(m, tt.seq, tt.filter)
			if _, err := s.client.Publish(s.ctx, m); !errors.Is(err, tt.want) {
				s.t.Errorf("%s: %v, want %v", what, err, tt.want)
			}
		}
	})
}

// What came of a write is not known once its answer is lost, and is not said.
func TestPublishSaysWhatIsNotKnown(t *testing.T) {
	inScene(t, func(s *scene) {
		s.fate("s.", natstest.Lost)
		if _, err := s.client.Publish(s.ctx, msg("s.a", "x")); !errors.Is(err, context.DeadlineExceeded) {
			s.t.Errorf("lost: %v", err)
		}
		s.fate("s.", natstest.CutAfter)
		if _, err := s.client.Publish(s.ctx, msg("s.b", "x")); err == nil {
			s.t.Error("the answer was lost and the write is said to be stored")
		}
		ended, cancel := context.WithCancelCause(s.ctx)
		cause := errors.New("no need any more")
		cancel(cause)
		if _, err := s.client.Publish(ended, msg("s.c", "x")); !errors.Is(err, cause) {
			s.t.Errorf("after the end of the context: %v", err)
		}
		if _, err := s.other.Last(s.ctx, "S", "s.c"); !errors.Is(err, ErrNotFound) {
			s.t.Errorf("it was sent after the end of the context: %v", err)
		}
		if _, err := s.client.Publish(s.ctx, msg("s."+strings.Repeat("x", 5000), "")); !errors.Is(err, ErrSubjectTooLong) {
			s.t.Errorf("a subject over the control line: %v", err)
		}
		s.client.nc.Close()
		if _, err := s.client.Publish(s.ctx, msg("s.d", "x")); !errors.Is(err, nats.ErrConnectionClosed) {
			s.t.Errorf("over a closed connection: %v", err)
		}
	})
}

// What a lost connection refuses is told of the connection, and not of its buffer.
func TestLostConnectionIsNamed(t *testing.T) {
	inScene(t, func(s *scene) {
		s.link.Crash()
		synctest.Wait() // the client knows
		_, published := s.client.Publish(s.ctx, msg("s.a", "x"))
		requested := s.client.Request(s.ctx, "STREAM.INFO.S", nil, new(struct{}))
		_, _, ensured := s.client.Ensure(s.ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
		for _, err := range []error{published, requested, ensured} {
			if !errors.Is(err, nats.ErrReconnectBufExceeded) || !strings.Contains(err.Error(), "no connection to the broker: ") {
				s.t.Errorf("error %v, want one that names the connection", err)
			}
		}
		s.link.Up()
	})
}

// A connection that is closed answers what is in flight.
func TestClosedConnectionAnswersWhatIsInFlight(t *testing.T) {
	inScene(t, func(s *scene) {
		s.link.Watch(func(string) natstest.Fate { return natstest.Lost })
		got := make(receiver, 1)
		if _, err := s.client.Send(msg("s.a", "x"), got); err != nil {
			s.t.Fatal(err)
		}
		s.client.nc.Close()
		if err := <-got; !errors.Is(err, nats.ErrConnectionClosed) {
			s.t.Errorf("%v", err)
		}
	})
}

type receiver chan error

func (r receiver) Answered(_ uint64, err error) { r <- err }

// What is forgotten is answered no more, and only once.
func TestForgottenWrite(t *testing.T) {
	inScene(t, func(s *scene) {
		s.link.Hold()
		got := make(receiver, 1)
		token, err := s.client.Send(msg("s.a", "x"), got)
		if err != nil {
			s.t.Fatal(err)
		}
		if !s.client.Forget(token) || s.client.Forget(token) {
			s.t.Error("a write that is in flight can be forgotten, once")
		}
		s.link.Release()
		time.Sleep(time.Second)
		if len(got) > 0 {
			s.t.Error("a forgotten write was answered")
		}
		if _, err := s.other.Last(s.ctx, "S", "s.a"); err != nil {
			s.t.Errorf("it was sent all the same: %v", err)
		}
	})
}

// Confirm goes on through all that passes.
func TestConfirmGoesOn(t *testing.T) {
	for name, tt := range map[string]struct {
		trouble  func(s *scene)
		restored int
	}{
		"a lost write":      {func(s *scene) { s.fate("s.", natstest.Lost) }, 0},
		"a cut connection":  {func(s *scene) { s.fate("s.", natstest.CutBefore) }, 0},
		"a missing stream":  {func(s *scene) { s.loseStream("S") }, 1},
		"a deaf subscriber": {func(s *scene) { s.loseStream("S"); s.subscribe("s.>") }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				tt.trouble(s)
				p := s.policy(time.Minute)
				seq, err := s.client.Confirm(s.ctx, msg("s.a", "x"), p, time.Second)
				if err != nil || p.restored != tt.restored || len(p.failures) == 0 {
					s.t.Fatalf("%v, the streams were restored %d times after %v", err, p.restored, p.failures)
				}
				if m, err := s.other.Last(s.ctx, "S", "s.a"); err != nil || m.Seq != seq {
					s.t.Errorf("sequence %d, want that of %+v: %v", seq, m, err)
				}
			})
		})
	}
}

func (s *scene) subscribe(subject string) {
	s.t.Helper()
	if _, err := s.other.nc.Subscribe(subject, func(*nats.Msg) {}); err != nil {
		s.t.Fatal(err)
	}
}

// Confirm ends when its policy says so, and says why.
func TestConfirmEnds(t *testing.T) {
	inScene(t, func(s *scene) {
		p := s.policy(5 * time.Second)
		s.link.Watch(func(string) natstest.Fate { return natstest.Lost })
		_, err := s.client.Confirm(s.ctx, msg("s.a", "x"), p, time.Second)
		if err == nil || !strings.Contains(err.Error(), "no answer from the broker within 5s") || !errors.Is(err, context.DeadlineExceeded) {
			s.t.Errorf("without an answer: %v", err)
		}
		s.link.Watch(nil)

		s.loseStream("S")
		full := &RefusedError{Stream: "S", Advice: "make room"}
		p = s.policy(5 * time.Second)
		p.restore = func(context.Context) error { return full }
		p.final = func(err error) bool {
			_, ok := errors.AsType[*MissingError](err)
			return ok
		}
		if _, err := s.client.Confirm(s.ctx, msg("s.a", "x"), p, time.Second); err != error(full) { //nolint:errorlint // the very error
			s.t.Errorf("with a stream that cannot be made: %v", err)
		}
		p = s.policy(5 * time.Second)
		p.restore = func(context.Context) error { return full }
		if _, err := s.client.Confirm(s.ctx, msg("s.a", "x"), p, time.Second); !errors.Is(err, full) || len(p.failures) < 4 {
			s.t.Errorf("with one that may be made later: %v after %d attempts", err, len(p.failures))
		}
		if err := s.makeStream(s.ctx); err != nil {
			s.t.Fatal(err)
		}

		m := msg("s.a", "x")
		Expect(m, 99, "s.a")
		p = s.policy(time.Minute)
		if _, err := s.client.Confirm(s.ctx, m, p, time.Second); !errors.Is(err, ErrConflict) || len(p.failures) > 0 {
			s.t.Errorf("with a condition that does not hold: %v after %v", err, p.failures)
		}
	})
}

// A read is tried until it is answered, be it that there is nothing.
func TestRetryRead(t *testing.T) {
	inScene(t, func(s *scene) {
		read := func(ctx context.Context) (*Message, error) { return s.client.Last(ctx, "S", "s.a") }
		s.fate("$JS.API.STREAM.MSG.GET", natstest.Lost)
		if _, err := RetryRead(s.ctx, Within(time.Minute), read); !errors.Is(err, ErrNotFound) {
			s.t.Errorf("with nothing there: %v", err)
		}
		if _, err := s.other.Publish(s.ctx, msg("s.a", "x")); err != nil {
			s.t.Fatal(err)
		}
		s.fate("$JS.API.STREAM.MSG.GET", natstest.CutAfter)
		if m, err := RetryRead(s.ctx, Within(time.Minute), read); err != nil || string(m.Data) != "x" {
			s.t.Errorf("%+v, %v", m, err)
		}
		s.link.Watch(func(string) natstest.Fate { return natstest.Lost })
		began := time.Now()
		if _, err := RetryRead(s.ctx, Within(10*time.Second), read); err == nil || time.Since(began) > 10*time.Second+RequestTimeout+MaxRetryPause {
			s.t.Errorf("without an answer: %v after %v", err, time.Since(began))
		}
	})
}

// Clients of one connection share a subscription for their answers, which goes with the last.
func TestClientsShareASubscription(t *testing.T) {
	inScene(t, func(s *scene) {
		nc := s.client.nc
		second := s.open(nc)
		for _, c := range []*Client{s.client, second} {
			if _, err := c.Publish(s.ctx, msg("s.a", "x")); err != nil {
				s.t.Fatal(err)
			}
		}
		if n := nc.NumSubscriptions(); n > 2 { // nats.go has one of its own for requests
			s.t.Errorf("%d subscriptions", n)
		}
		before := nc.NumSubscriptions()
		second.Close()
		second.Close()
		if n := nc.NumSubscriptions(); n != before {
			s.t.Errorf("%d subscriptions while a client is open, want %d", n, before)
		}
		s.client.Close()
		if n := nc.NumSubscriptions(); n != before-1 {
			s.t.Errorf("%d subscriptions after the last is closed, want %d", n, before-1)
		}
		if _, err := s.client.Publish(s.ctx, msg("s.a", "x")); err != nil {
			s.t.Errorf("a write after that: %v", err)
		}
	})
}
