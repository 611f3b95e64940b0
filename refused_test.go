package millhand_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// Who may enqueue and not read is told so, and does not wait for ever.
func TestAwaitWithoutTheRightToRead(t *testing.T) {
	srv := serve(t, `jetstream: {store_dir: "%s"}
authorization: {users: [
	{user: all, password: p}
	{user: some, password: p, permissions: {publish: ["millhand.*.ready.>"], subscribe: ["_INBOX.>", "millhand.event.>"]}}
]}`)
	as := func(user string) *millhand.Client {
		nc, err := nats.Connect(srv.ClientURL(), nats.UserInfo(user, "p"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return client(t, nc)
	}
	if _, err := as("all").Enqueue(t.Context(), email{}); err != nil { // makes the streams
		t.Fatal(err)
	}
	c := as("some")
	ref, err := c.Enqueue(t.Context(), email{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Await(context.Background(), ref); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("Await = %v", err)
	}
	if _, err := c.Get(context.Background(), ref); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "STREAM.MSG.GET") {
		t.Errorf("Get = %v", err)
	}
}

// Who waited in vain since nothing could be read is told that.
func TestAwaitSaysWhatItCouldNotRead(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		link := s.Link()
		c := client(t, link.Connect(t))
		ref, err := c.Enqueue(t.Context(), email{})
		if err != nil {
			t.Fatal(err)
		}
		link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "$JS.API.STREAM.MSG.GET.") {
				return natstest.Lost
			}
			return natstest.Pass
		})
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		_, err = c.Await(ctx, ref)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "could not be read") {
			t.Errorf("Await of what cannot be read = %v", err)
		}
	})
}

// Where the server takes little, a job may be half as large, and a larger one is refused by the
// server's name. Before the first connection nobody knows a limit.
func TestPayloadLimits(t *testing.T) {
	c := client(t, dial(t, serve(t, "max_payload: 64KB\njetstream: {store_dir: \"%s\"}")))
	if _, err := c.Enqueue(t.Context(), email{}); err != nil {
		t.Errorf("a small job: %v", err)
	}
	large := millhand.Raw{Name: "email", Payload: make([]byte, 33<<10)}
	if _, err := c.Enqueue(t.Context(), large); !errors.Is(err, millhand.ErrInvalid) || !strings.Contains(err.Error(), "server's max_payload of 65536 bytes") {
		t.Errorf("a large job: %v", err)
	}

	nc, err := nats.Connect("nats://127.0.0.1:1", nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := client(t, nc).Enqueue(ctx, email{}); err == nil || errors.Is(err, millhand.ErrInvalid) {
		t.Errorf("a job before the first connection: %v", err)
	}
}
