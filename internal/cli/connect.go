package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

// tlsAlertOp is how crypto/tls marks what the other side found wrong, such as our certificate.
const tlsAlertOp = "remote error"

const (
	connectBudget = 4500 * time.Millisecond // to fail within 5 s, whatever the servers do

	// Between two attempts of a worker to connect for the first time, and as much again at
	// random, so that a thousand do not come at once.
	firstRetry    = 500 * time.Millisecond
	firstRetryMax = 5 * time.Second
)

// Target is a server and how to connect to it. One with only a URL is usable.
type Target struct {
	URL    string    // several are separated by commas; may hold a password, which String hides
	Domain string    // JetStream domain, if any
	Remote bool      // a server, context, credential or domain was given: do not embed a broker
	Trace  io.Writer // is told of each request, if not nil
	Show   io.Writer // is told each request as a call of nats, if not nil
	Given  string    // the flag or variable that says so, the first of them; empty: none

	options []nats.Option
}

// String is the URL without users, passwords and tokens, for logs and errors.
func (t Target) String() string { return Redact(t.URL) }

// Connect connects once, within 5 seconds or until the deadline of ctx, to the first server that answers. The error
// says on one line what failed and what to do. The end of ctx stops the attempt, but does
// not harm the connection later.
func (t Target) Connect(ctx context.Context, opts ...nats.Option) (*nats.Conn, error) {
	if err := checkURL(t.URL); err != nil { // nats.go's error would quote it
		return nil, &badURLError{err}
	}
	budget := connectBudget
	if end, ok := ctx.Deadline(); ok {
		budget = max(min(budget, time.Until(end)), time.Millisecond)
	}
	// A server may take this long twice: to accept, and to say hello.
	timeout := budget / time.Duration(2*(strings.Count(t.URL, ",")+1))

	var connected atomic.Bool
	var dialErr error // nats.go drops a refused connection's; written by one goroutine at a time
	dial := dialFunc(func(network, address string) (net.Conn, error) {
		ctx := ctx
		if connected.Load() {
			ctx = context.WithoutCancel(ctx) // a draining worker has to reconnect too
		}
		conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, network, address)
		dialErr = err
		if t.Trace != nil && err == nil {
			conn = traced(conn, t.Trace)
		}
		if t.Show != nil && err == nil {
			conn = shown(conn, t.Show)
		}
		return conn, err
	})

	all := append([]nats.Option{
		nats.Timeout(timeout),
		nats.SetCustomDialer(dial),
		nats.SkipHostLookup(), // nats.go's has no timeout, the dialer's has
		// The default handler prints to stderr; what matters is in nc.LastError.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, t.options...)
	nc, err := nats.Connect(t.URL, append(all, opts...)...)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect to %s: %w", t, context.Cause(ctx))
		}
		if errors.Is(err, nats.ErrNoServers) && dialErr != nil {
			err = dialErr
		}
		return nil, fmt.Errorf("connect to %s: %w", t, t.advise(err))
	}
	connected.Store(true)
	return nc, nil
}

// ConnectWorker connects as a worker does: it waits for the server as long as it takes, or
// until ctx ends. It gives up only when waiting cannot help: the URL cannot be used, the
// server refuses our credentials, or one side the other's certificate. That the connection
// outlives later outages is up to opts.
func (t Target) ConnectWorker(ctx context.Context, log *slog.Logger, opts ...nats.Option) (*nats.Conn, error) {
	wait := firstRetry
	for {
		nc, err := t.Connect(ctx, opts...)
		if err == nil || ctx.Err() != nil || refused(err) {
			return nc, err
		}
		log.WarnContext(ctx, "no server yet, still trying", slog.Any("err", err))
		timer := time.NewTimer(wait + rand.N(firstRetry))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("connect to %s: %w", t, context.Cause(ctx))
		case <-timer.C:
		}
		wait = min(2*wait, firstRetryMax)
	}
}

// dialFunc implements [nats.CustomDialer].
type dialFunc func(network, address string) (net.Conn, error)

func (f dialFunc) Dial(network, address string) (net.Conn, error) { return f(network, address) }

// badURLError is about a URL that no attempt can help.
type badURLError struct{ err error }

func (e *badURLError) Error() string { return "the server's URL cannot be used: " + e.err.Error() }

func (e *badURLError) Unwrap() error { return e.err }

// refused reports whether trying again would end the same.
func refused(err error) bool {
	if _, ok := errors.AsType[*badURLError](err); ok {
		return true
	}
	return isAuth(err) || isCertificate(err) || errors.Is(err, nats.ErrSecureConnRequired) || errors.Is(err, nats.ErrSecureConnWanted)
}

func isAuth(err error) bool {
	for _, auth := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported,
	} {
		if errors.Is(err, auth) {
			return true
		}
	}
	return false
}

func isCertificate(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == tlsAlertOp
}

// advise adds to a connection error what to do about it, and takes the address out of it:
// the URL stands before it already, and with a comma in a password the address may be a
// part of that.
func (t Target) advise(err error) error {
	advice := "is it a NATS server?"
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		host := "host"
		if strings.Contains(t.String(), dns.Name) {
			host += " " + dns.Name
		}
		return fmt.Errorf("%s not found; check --%s: %s", host, flagServer, dns.Err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		err = op.Err
	}
	if address, ok := errors.AsType[*net.AddrError](err); ok {
		err = errors.New(address.Err)
	}
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case isAuth(err):
		advice = fmt.Sprintf("check --%s, --%s, or --%s and --%s", flagCreds, flagNKey, flagUser, flagPassword)
	case isCertificate(err), errors.Is(err, nats.ErrTLS):
		advice = fmt.Sprintf("check --%s, --%s and --%s", flagTLSCA, flagTLSCert, flagTLSKey)
	case errors.Is(err, nats.ErrSecureConnRequired):
		advice = fmt.Sprintf("the server wants TLS: use tls:// in --%s, or --%s", flagServer, flagTLSCA)
	case errors.Is(err, nats.ErrSecureConnWanted):
		advice = "the server has no TLS: use nats:// in --" + flagServer
	case errors.Is(err, syscall.ECONNREFUSED):
		err = syscall.ECONNREFUSED // without the name of the system call
		advice = "nothing listens there; start a worker or a nats-server, or name another with --" + flagServer
	case isNet && timeout.Timeout(), errors.Is(err, nats.ErrTimeout):
		advice = fmt.Sprintf("no answer; is --%s right, and nothing in between?", flagServer)
	case errors.Is(err, io.EOF):
		advice = "the server closed the connection; does it want TLS, or is it another kind of server?"
	}
	return fmt.Errorf("%w; %s", err, advice)
}
