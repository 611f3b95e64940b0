package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
)

// defaultNamespace is the first part of every subject, stream and bucket unless configured.
const defaultNamespace = "millhand"

// Config says what a [Client] is for. The zero value but for the logger is usable.
type Config struct {
	Namespace string       // default "millhand"
	Domain    string       // JetStream domain, if any
	MaxBytes  int64        // of each stream that is made; 0: as many as the account has
	Logger    *slog.Logger // never nil

	// Wrote is told how long each write took that is waited for by itself, be it a message or, with an empty
	// subject, a removal, until it was answered or given up. It must not block. nil: nobody is.
	Wrote func(subject string, took time.Duration)
}

// A Client is JetStream for one namespace over one connection. It is safe for concurrent use.
type Client struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	api string // prefix of the JetStream API
	cfg Config
	log *slog.Logger

	publisher *publisher
	waiters   waiters
	leave     sync.Once
}

// New returns a client over nc, which stays the caller's to close. It does no I/O. The error
// names the rule that the namespace or the domain breaks.
func New(nc *nats.Conn, cfg Config) (*Client, error) {
	if cfg.Namespace == "" {
		cfg.Namespace = defaultNamespace
	}
	if err := job.CheckNamespace(cfg.Namespace); err != nil {
		return nil, err
	}
	c := &Client{nc: nc, api: "$JS.API.", cfg: cfg, log: cfg.Logger}
	var err error
	if cfg.Domain == "" {
		c.js, err = jetstream.New(nc)
	} else {
		if err := job.CheckDomain(cfg.Domain); err != nil {
			return nil, err
		}
		c.api = "$JS." + cfg.Domain + ".API."
		c.js, err = jetstream.NewWithDomain(nc, cfg.Domain)
	}
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	c.publisher = sharedPublishers.join(nc)
	return c, nil
}

// Close lets go of what the client keeps on its connection. With the last client of a connection
// goes the subscription to answers.
func (c *Client) Close() { c.leave.Do(c.publisher.leave) }

// Conn returns the connection.
func (c *Client) Conn() *nats.Conn { return c.nc }

// JetStream returns the client's JetStream, which is of its domain.
func (c *Client) JetStream() jetstream.JetStream { return c.js }

// Namespace returns the namespace that the client is for.
func (c *Client) Namespace() string { return c.cfg.Namespace }

// API returns the subject of a request to JetStream, such as STREAM.INFO.NAME.
func (c *Client) API(request string) string { return c.api + request }

// RequestTimeout is how long one request or write waits for its answer, if its context does not
// end before.
const RequestTimeout = 2 * time.Second

// Request asks JetStream once and decodes the JSON answer. If the server does not answer because
// the request is not allowed, the error is a [*PermissionError].
func (c *Client) Request(ctx context.Context, request string, query, answer any) error {
	return c.requestWithin(ctx, RequestTimeout, request, query, answer)
}

func (c *Client) requestWithin(ctx context.Context, patience time.Duration, request string, query, answer any) error {
	subject := c.API(request)
	body, err := json.Marshal(query)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := c.ask(ctx, &nats.Msg{Subject: subject, Data: body})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(r.Data, answer); err != nil {
		return fmt.Errorf("answer to %s: %w", subject, err)
	}
	return nil
}

// ask sends a request and returns its answer.
func (c *Client) ask(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	heed, done := c.Heed(ctx, m.Subject)
	defer done()
	answer, err := c.nc.RequestMsgWithContext(heed, m)
	if err != nil {
		return nil, c.denied(m.Subject, Denial(heed, unconnected(err)))
	}
	return answer, nil
}

// Sleep waits for d, or until ctx ends, whose cause it then returns.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
