package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/access"
)

// A PermissionError says that the broker does not let this user do something. It is a
// [nats.ErrPermissionViolation].
type PermissionError struct {
	Subject   string
	Subscribe bool          // it may not receive what is sent there; else it may not publish there
	Roles     []access.Role // that may, the least of them first
	Err       error         // as the connection has it
}

func (e *PermissionError) Error() string {
	what := "publish to "
	if e.Subscribe {
		what = "subscribe to "
	}
	return "this user has no permission to " + what + e.Subject + ": " + access.Sentence(e.Roles)
}

// Unwrap returns the connection's error.
func (e *PermissionError) Unwrap() error { return e.Err }

// The server says that something is not allowed apart from any request, and does not answer that. So
// whoever waits for an answer waits for such a word as well.
type denials struct {
	mu      sync.Mutex
	heeders map[*heeder]struct{}
	inbox   error  // why no answers can be received, as of
	asOf    uint64 // so many reconnects
}

// A heeder waits for an answer.
type heeder struct {
	subjects []string // that it asks on, wildcards allowed
	client   *Client
	end      context.CancelCauseFunc
}

var denial = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"`)

// parseDenial returns what an error of a connection says that is not allowed.
func parseDenial(err error) (subject string, subscribe, ok bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return "", false, false
	}
	parts := denial.FindStringSubmatch(err.Error())
	if parts == nil {
		return "", false, false
	}
	return parts[2], strings.EqualFold(parts[1], "subscription"), true
}

// listen has the connection tell p what is not allowed, and whoever was told so far.
func (p *publisher) listen() {
	tell := p.nc.ErrorHandler()
	p.nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		p.denied(err)
		if tell != nil {
			tell(nc, sub, err)
		}
	})
}

// denied ends all waiting that err makes hopeless.
func (p *publisher) denied(err error) {
	subject, subscribe, ok := parseDenial(err)
	if !ok {
		return
	}
	noAnswers := subscribe && strings.HasPrefix(subject, inboxPrefix(p.nc)+".")
	d := &p.denials
	d.mu.Lock()
	if noAnswers {
		d.inbox, d.asOf = err, p.nc.Stats().Reconnects
	}
	for h := range d.heeders {
		if noAnswers || !subscribe && slices.ContainsFunc(h.subjects, func(s string) bool { return covers(s, subject) }) {
			h.end(h.client.permission(err))
		}
	}
	d.mu.Unlock()
	if subscribe && !noAnswers {
		return
	}
	for _, c := range p.takeAll(subject, noAnswers) {
		c.to.Answered(0, c.client.permission(err))
	}
}

// takeAll returns the writes in flight on a subject, or all, for which no answer will come.
func (p *publisher) takeAll(subject string, all bool) (found []call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for place, c := range p.calls {
		if c.token != 0 && (all || c.subject == subject) {
			found = append(found, c)
			p.calls[place] = call{}
			p.free = append(p.free, uint32(place))
		}
	}
	return found
}

// hopeless returns why no answers can be received, nil if they can.
func (d *denials) hopeless(nc *nats.Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inbox != nil && nc.Stats().Reconnects != d.asOf {
		d.inbox = nil // then all was subscribed again, and would be refused again
	}
	return d.inbox
}

// Heed returns a context for a request on one of these subjects, wildcards allowed. It ends as soon as the
// broker says that this user may not publish there, or receives no answers at all. [Denial] then has the
// reason. The function is to be called when the request is over.
func (c *Client) Heed(ctx context.Context, subjects ...string) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	d := &c.publisher.denials
	if err := d.hopeless(c.nc); err != nil {
		end(c.permission(err))
		return ctx, func() {}
	}
	h := &heeder{subjects: subjects, client: c, end: end}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.heeders == nil {
		d.heeders = make(map[*heeder]struct{})
	}
	d.heeders[h] = struct{}{}
	return ctx, func() {
		d.mu.Lock()
		delete(d.heeders, h)
		d.mu.Unlock()
		end(nil)
	}
}

// Denial returns err or, if that is of a request whose context of [Client.Heed] ended since it is not
// allowed, the reason.
func Denial(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, nats.ErrPermissionViolation) {
		return cause
	}
	return err
}

// permission makes of a connection's error one that says who has the permission.
func (c *Client) permission(err error) error {
	subject, subscribe, ok := parseDenial(err)
	if !ok {
		return err
	}
	if prefix := inboxPrefix(c.nc); subscribe && strings.HasPrefix(subject, prefix+".") {
		return &inboxError{prefix: prefix, user: c.nc.Opts.User, err: err}
	}
	return &PermissionError{Subject: subject, Subscribe: subscribe, Roles: access.RolesFor(c.cfg.Namespace, subject, subscribe), Err: err}
}

func inboxPrefix(nc *nats.Conn) string {
	return cmp.Or(nc.Opts.InboxPrefix, strings.TrimSuffix(nats.InboxPrefix, "."))
}

// Denied returns err or, if that is a request to subject that was not answered, the server's word
// that this connection may not publish there. It is for a connection whose error handler was replaced
// since, so that nobody was told in time.
func (c *Client) denied(subject string, err error) error {
	said := c.nc.LastError()
	if about, subscribe, ok := parseDenial(said); ok && errors.Is(err, context.DeadlineExceeded) && !subscribe && about == subject {
		return c.permission(said)
	}
	return err
}

// lastDenial returns what the server said last that this connection may not do, nil if it said
// nothing of the kind.
func (c *Client) lastDenial() error {
	said := c.nc.LastError()
	if _, _, ok := parseDenial(said); !ok {
		return nil
	}
	return c.permission(said)
}

// An inboxError says that no answers can be received.
type inboxError struct {
	prefix string
	user   string // empty: not known
	err    error
}

func (e *inboxError) Error() string {
	name := "a prefix that it may subscribe to"
	if e.user != "" {
		name = "the one that it may subscribe to, most likely _INBOX." + e.user + ","
	}
	return fmt.Sprintf("no answers reach this user, which may not subscribe to %s.>; name %s with --inbox-prefix (in Go, nats.CustomInboxPrefix): %v",
		e.prefix, name, e.err)
}

func (e *inboxError) Unwrap() error { return e.err }
