package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// SetupTimeout is how long one attempt to set something up waits for its answers.
const SetupTimeout = 5 * time.Second

const (
	replicasAsked = 3      // in a cluster
	maxConsumers  = 10_000 // the broker's own default is 1,000
)

// ErrForeign says that a stream has the name of one of ours and is something else.
var ErrForeign = errors.New("stream belongs to something else")

// A RefusedError is the server's word on a stream that it does not make, with what would have
// to be changed. Its cause is the server's own error.
type RefusedError struct {
	Stream string
	Advice string
	Err    error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("stream %s cannot be made: %s (%v)", e.Stream, e.Advice, e.Err)
}

// Unwrap returns the server's error.
func (e *RefusedError) Unwrap() error { return e.Err }

// errNoJetStream says what no request to JetStream can: nobody is there to answer.
var errNoJetStream = errors.New("JetStream is not enabled: start nats-server with -js, or give it a jetstream block")

// errNoJetStreamForYou is the same of an account.
var errNoJetStreamForYou = errors.New("JetStream is not enabled for this account: give the account jetstream: enabled, or use another user")

// Final reports whether err is one of [Client.Ensure] that will not pass by itself.
func Final(err error) bool {
	_, tooOld := errors.AsType[*TooOldError](err)
	_, refused := errors.AsType[*RefusedError](err)
	return tooOld || refused || errors.Is(err, ErrForeign)
}

// CheckConnected returns a [*TooOldError] if the server at the other end of the connection
// holds streams itself and is too old. It asks nobody.
func (c *Client) CheckConnected() error {
	if has, _ := c.nc.ConnectedServerJetStream(); !has || c.cfg.Domain != "" {
		return nil // the streams are elsewhere
	}
	return Connected(c.nc).Check()
}

// Ensure makes the stream that want describes if there is none of its name, and tells whether
// it did. An existing one stays as its operator configured it, but for what it cannot do
// since the server that made it was too old.
//
// The errors that will not pass are [*TooOldError], [*RefusedError] and one that is [ErrForeign].
func (c *Client) Ensure(ctx context.Context, want jetstream.StreamConfig) (info *jetstream.StreamInfo, made bool, err error) {
	return c.EnsureWith(ctx, want, Additions{})
}

// EnsureWith is Ensure of a stream that is made with additions. [Client.Complete] adds them to
// one that exists.
func (c *Client) EnsureWith(ctx context.Context, want jetstream.StreamConfig, a Additions) (info *jetstream.StreamInfo, made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, SetupTimeout)
	defer cancel()
	if err := c.CheckConnected(); err != nil {
		return nil, false, err
	}
	info, made, err = c.findOrCreate(ctx, a.AddTo(want))
	if err != nil {
		return nil, false, c.explain(want, err)
	}
	if err := Answering(info.Config.Metadata).Check(); err != nil {
		return nil, made, err
	}
	if err := sameStream(want, info.Config); err != nil {
		return nil, made, err
	}
	if missing := lacks(want, info.Config); len(missing) > 0 {
		info, err = c.upgrade(ctx, want, info.Config, missing)
	}
	return info, made, err
}

// firstPatience is how long an attempt to find or make a stream has to itself. Then another one
// begins beside it, and the next after twice as long.
const firstPatience = SetupTimeout / 10

// A setup is one call's attempts to find or make a stream. A server that has just started may do
// what it is asked and lose its answer (see docs/decisions/0025), so it is asked again; and a
// server may be far away, so whoever was asked before may still answer. The first answer counts.
type setup struct {
	client *Client
	want   jetstream.StreamConfig

	mu    sync.Mutex
	asked []uint64 // the first sequences that were asked for: by them a stream is known as ours
}

// findOrCreate reports whether it made the stream.
func (c *Client) findOrCreate(ctx context.Context, want jetstream.StreamConfig) (*jetstream.StreamInfo, bool, error) {
	type answer struct {
		info *jetstream.StreamInfo
		err  error
	}
	s := &setup{client: c, want: want}
	attempt, cancel := context.WithCancel(ctx)
	var attempts sync.WaitGroup
	defer attempts.Wait()
	defer cancel()
	answers := make(chan answer)
	for patience := firstPatience; ; patience *= 2 {
		attempts.Go(func() {
			info, err := s.try(attempt)
			select {
			case answers <- answer{info, err}:
			case <-attempt.Done():
			}
		})
		next := time.NewTimer(patience)
		select {
		case a := <-answers:
			next.Stop()
			return a.info, a.err == nil && s.made(a.info), a.err
		case <-ctx.Done():
			next.Stop()
			return nil, false, ctx.Err()
		case <-next.C:
		}
	}
}

// try is one attempt.
func (s *setup) try(ctx context.Context) (*jetstream.StreamInfo, error) {
	for {
		st, err := s.client.findStream(ctx, s.want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			st, err = s.client.create(ctx, s.next())
		}
		switch {
		case err == nil:
			return st.CachedInfo(), nil
		case Code(err) != CodeNameInUse:
			return nil, err
		}
		// Somebody else was first. In a cluster it may take a moment until that is seen.
		if err := Sleep(ctx, firstPatience/10); err != nil {
			return nil, err
		}
	}
}

// next is what this attempt asks for: a stream of its own time, since another one may have come
// and gone since the last attempt.
func (s *setup) next() jetstream.StreamConfig {
	s.mu.Lock()
	defer s.mu.Unlock()
	cfg := s.want
	cfg.FirstSeq = firstSequence(time.Now())
	s.asked = append(s.asked, cfg.FirstSeq)
	return cfg
}

func (s *setup) made(info *jetstream.StreamInfo) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.asked, info.Config.FirstSeq)
}

// create makes a stream with what this server has: one copy where there is no cluster, and no
// more consumers than the account may have.
func (c *Client) create(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	if err := c.checkAnswering(ctx); err != nil {
		return nil, err
	}
	cfg.Replicas = replicasAsked
	cfg.MaxConsumers = maxConsumers
	if c.cfg.MaxBytes > 0 {
		cfg.MaxBytes = c.cfg.MaxBytes
	}
	for {
		st, err := c.createStream(ctx, cfg)
		switch code := Code(err); {
		case code == CodeNotClustered && cfg.Replicas > 1:
			cfg.Replicas = 1
		case code == CodeConsumerLimit && cfg.MaxConsumers > 0:
			cfg.MaxConsumers = 0 // as many as the account has
		case code == CodeInvalidConfig && cfg.Duplicates > 0 && strings.Contains(err.Error(), "duplicates window"):
			cfg.Duplicates = 0 // as long as the server has
		default:
			return st, err
		}
	}
}

// checkAnswering asks who would make a stream: in a cluster that is not the connected server.
func (c *Client) checkAnswering(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, SetupTimeout/5)
	defer cancel()
	ctx, done := c.Heed(ctx, c.API("INFO"))
	defer done()
	account, err := c.js.AccountInfo(ctx)
	if err != nil {
		return nil // to ask takes a permission of its own; what was made is looked at in any case
	}
	return Server{Level: account.API.Level}.Check()
}

// upgrade turns on what a stream lacks since an older server made it.
func (c *Client) upgrade(ctx context.Context, want, got jetstream.StreamConfig, missing []string) (*jetstream.StreamInfo, error) {
	cfg := got
	cfg.AllowMsgSchedules = got.AllowMsgSchedules || want.AllowMsgSchedules
	cfg.AllowMsgTTL = got.AllowMsgTTL || want.AllowMsgTTL
	cfg.AllowDirect = got.AllowDirect || want.AllowDirect
	if want.SubjectDeleteMarkerTTL > 0 && got.SubjectDeleteMarkerTTL == 0 {
		cfg.SubjectDeleteMarkerTTL = want.SubjectDeleteMarkerTTL
	}
	st, err := c.updateStream(ctx, cfg)
	if err != nil {
		return nil, &RefusedError{
			Stream: want.Name, Err: err,
			Advice: "it exists without " + strings.Join(missing, " and ") + ", which cannot be turned on; remove it once it is empty (nats stream rm " + want.Name + "), and a new one is made",
		}
	}
	info := st.CachedInfo()
	if missing := lacks(want, info.Config); len(missing) > 0 {
		return nil, fmt.Errorf("stream %s has no %s after that was turned on: %w", want.Name, strings.Join(missing, " and no "), &TooOldError{Server: Answering(info.Config.Metadata)})
	}
	return info, nil
}

// Edit changes the configuration of a stream, if change reports that there is something to change.
// Two that edit one stream at the same time may undo each other's change.
func (c *Client) Edit(ctx context.Context, stream string, change func(*jetstream.StreamConfig) bool) error {
	info, err := c.Info(ctx, stream)
	if err != nil {
		return err
	}
	if !change(&info.Config) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, SetupTimeout)
	defer cancel()
	_, err = c.updateStream(ctx, info.Config)
	return err
}

// lacks names what a stream needs and cannot do.
func lacks(want, got jetstream.StreamConfig) (missing []string) {
	for _, f := range []struct {
		name      string
		want, got bool
	}{
		{"message schedules", want.AllowMsgSchedules, got.AllowMsgSchedules},
		{"message TTLs", want.AllowMsgTTL, got.AllowMsgTTL},
		{"direct reads", want.AllowDirect, got.AllowDirect},
		{"delete markers", want.SubjectDeleteMarkerTTL > 0, got.SubjectDeleteMarkerTTL > 0},
	} {
		if f.want && !f.got {
			missing = append(missing, f.name)
		}
	}
	return missing
}

// sameStream returns an error that is [ErrForeign] if a stream is not what its name says.
func sameStream(want, got jetstream.StreamConfig) error {
	for _, s := range want.Subjects {
		if !slices.ContainsFunc(got.Subjects, func(g string) bool { return covers(g, s) }) {
			return fmt.Errorf("%w: %s stores %s and not %s; another namespace or queue has that name: choose another namespace",
				ErrForeign, want.Name, strings.Join(got.Subjects, ", "), s)
		}
	}
	if got.Retention != want.Retention {
		return fmt.Errorf("%w: %s has retention %v, not %v; choose another namespace", ErrForeign, want.Name, got.Retention, want.Retention)
	}
	if want.MaxMsgsPerSubject == 1 && got.MaxMsgsPerSubject != 1 {
		return fmt.Errorf("%w: %s keeps %d messages of a subject, not 1; choose another namespace", ErrForeign, want.Name, got.MaxMsgsPerSubject)
	}
	return nil
}

// covers reports whether a stream of the subject filter has all that subject stands for.
func covers(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, t := range f {
		switch {
		case t == ">":
			return len(s) > i
		case i >= len(s) || s[i] == ">":
			return false
		case t != "*" && t != s[i]:
			return false
		}
	}
	return len(f) == len(s)
}

// explain makes of a server's refusal what a person can act on.
func (c *Client) explain(want jetstream.StreamConfig, err error) error {
	advice := ""
	switch Code(err) {
	case CodeMaxBytesNeeded:
		advice = "the account wants a limit of bytes for each stream; set one with --max-bytes"
	case CodeMaxBytesTooLarge:
		advice = "the limit of bytes for each stream is over the account's own; lower --max-bytes"
	case CodeStreamLimit:
		advice = "the account has no room for another stream: a namespace takes four and one for each queue; raise the account's max_streams, or remove streams"
	case CodeConsumerLimit:
		advice = "the account allows too few consumers; raise its max_consumers"
	case CodeStorageFull, CodeAccountFull:
		advice = "the account or server has too little storage left for it; raise the limit, or lower --max-bytes"
	case CodeNoJetStream:
		return errNoJetStream
	case CodeNoJetStreamForYou:
		return errNoJetStreamForYou
	}
	if advice != "" {
		return &RefusedError{Stream: want.Name, Advice: advice, Err: err}
	}
	if c.cfg.Domain != "" && errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("no server of the JetStream domain %s answers: is that its name, and is the leaf node connected to it? (%w)", c.cfg.Domain, err)
	}
	if has, _ := c.nc.ConnectedServerJetStream(); !has && c.nc.IsConnected() &&
		(errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled)) {
		return errNoJetStream
	}
	if denied := c.lastDenial(); denied != nil && errors.Is(err, context.DeadlineExceeded) {
		if inbox, ok := errors.AsType[*inboxError](denied); ok {
			return inbox // nothing that this stream could be blamed for
		}
		err = denied
	}
	return fmt.Errorf("stream %s: %w", want.Name, unconnected(err))
}
