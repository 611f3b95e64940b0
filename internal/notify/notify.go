// Package notify tells somebody of problems that begin and end: a POST for each to a URL.
package notify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/problem"
)

// Bounds of what is sent.
const (
	attemptFor = 10 * time.Second // for one try
	giveUp     = 10 * time.Minute // after the notice was made: by then there may be another of the same
	pauseFirst = time.Second
	pauseMax   = time.Minute
	lastTry    = 2 * time.Second // for all that is left when the worker stops
	maxWaiting = 100
)

// Config is what a [Sender] needs.
type Config struct {
	URL       string // http or https, as [Check] wants it. It may hold a secret, and is never logged
	Namespace string
	Worker    string
	Logger    *slog.Logger
}

// A Sender sends notices, one after the other. It is safe for concurrent use.
type Sender struct {
	cfg  Config
	host string // of the URL, which is no secret
	http *http.Client

	mu      sync.Mutex
	waiting []waiting
	wake    chan struct{}
}

type waiting struct {
	message
	made time.Time
}

// A message is what is sent. Its fields are a contract.
type message struct {
	problem.Message
	Namespace string `json:"namespace"`
	Worker    string `json:"worker"` // that sends it
}

// Check returns why a URL is not one to send notices to. It does not repeat the URL.
func Check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil, u.Host == "":
		return errors.New("must be a URL such as https://hooks.example.com/x")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must begin with http:// or https://")
	}
	return nil
}

// New returns a sender for a URL that [Check] has found to be one.
func New(cfg Config) *Sender {
	s := &Sender{cfg: cfg, wake: make(chan struct{}, 1)}
	if u, err := url.Parse(cfg.URL); err == nil {
		s.host = u.Host
	}
	s.http = &http.Client{
		Timeout: attemptFor,
		// There are few notices: a connection that is kept would be a broken one by the next.
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s
}

// Send has notices sent by [Sender.Run]. It does not wait.
func (s *Sender) Send(notices []problem.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range notices {
		s.waiting = append(s.waiting, waiting{message{n, s.cfg.Namespace, s.cfg.Worker}, time.Now()})
	}
	if over := len(s.waiting) - maxWaiting; over > 0 {
		s.waiting = s.waiting[over:]
		s.cfg.Logger.Warn("nobody is told of the oldest problems: too many wait to be sent", slog.Int("count", over), slog.String("address", s.host))
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends. What is left then has one more try.
func (s *Sender) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		n, ok := s.next()
		if !ok {
			select {
			case <-ctx.Done():
			case <-s.wake:
			}
			continue
		}
		if !s.deliver(ctx, n) {
			s.putBack(n)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTry)
	defer cancel()
	for n, ok := s.next(); ok; n, ok = s.next() {
		if err := s.post(last, n); err != nil {
			s.failed(n, err)
		}
	}
	return nil
}

func (s *Sender) next() (w waiting, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return w, false
	}
	w, s.waiting = s.waiting[0], s.waiting[1:]
	return w, true
}

func (s *Sender) putBack(w waiting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = slices.Insert(s.waiting, 0, w)
}

// deliver sends a notice until it is taken or is not worth another try. It reports false if ctx ended.
func (s *Sender) deliver(ctx context.Context, n waiting) bool {
	for pause := pauseFirst; ; pause = min(2*pause, pauseMax) {
		err := s.post(ctx, n)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case isFinal(err) || time.Since(n.made)+pause > giveUp:
			s.failed(n, err)
			return true
		}
		s.cfg.Logger.DebugContext(ctx, "a notice of a problem is not taken: trying again", slog.String("address", s.host), slog.Duration("delay", pause), slog.Any("err", err))
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return false
		case <-t.C:
		}
	}
}

func (s *Sender) failed(n waiting, err error) {
	s.cfg.Logger.Warn("nobody is told of a problem: the notice is not taken", slog.String("code", string(n.Problem.Code)),
		slog.String("subject", n.Problem.Subject), slog.String("event", string(n.Event)), slog.String("address", s.host), slog.Any("err", err))
}

// A statusError is an answer that does not take the notice.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("answered %d %s", int(e), http.StatusText(int(e)))
}

// isFinal reports whether another try would be answered alike.
func isFinal(err error) bool {
	status, ok := errors.AsType[statusError](err)
	return ok && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooEarly && status != http.StatusTooManyRequests
}

// post tries once. Its error has nothing of the URL but the host.
func (s *Sender) post(ctx context.Context, n waiting) error {
	body, err := json.Marshal(n.message)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL cannot be requested")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "millhand")
	r.Header.Set("Idempotency-Key", fmt.Sprintf("%s/%s/%s/%s/%d", s.cfg.Namespace, n.Problem.Code, n.Problem.Subject, n.Event, n.At.UnixMilli()))
	res, err := s.http.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok { // which repeats the URL
			err = e.Err
		}
		return cmp.Or(context.Cause(ctx), err)
	}
	defer func() { _ = res.Body.Close() }()                     // all that matters was read
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16)) // so that the other side sees a clean end
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return nil
	}
	return statusError(res.StatusCode)
}
