package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/clitest"
)

// call runs the command as a role and returns what it printed.
func call(t *testing.T, srv *clitest.Roles, role string, args ...string) (out, errs string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = execute(t.Context(), flagOfTerm(append(srv.Login(role), args...)), streams{in: strings.NewReader(""), out: &stdout, err: &stderr})
	return stdout.String(), stderr.String(), code
}

// working starts a worker of the role, and enqueues a job of each kind as an enqueuer.
func working(t *testing.T, srv *clitest.Roles) {
	t.Helper()
	as := func(role string) *nats.Conn {
		nc, err := nats.Connect(srv.ClientURL(), append(millhand.ConnectOptions(slog.New(slog.DiscardHandler)),
			nats.UserInfo(role, "change-me-"+role), nats.CustomInboxPrefix("_INBOX."+role))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	running := make(chan struct{}, 1)
	mux := millhand.NewMux()
	mux.HandleFunc("doomed", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New("no such customer"))
	})
	mux.HandleFunc("hanging", func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) {
		running <- struct{}{}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	config := millhand.Config{Logger: slog.New(slog.DiscardHandler)}
	w, err := millhand.NewWorker(as("worker"), millhand.WorkerConfig{Config: config, Mux: mux, Name: "w", Concurrency: 4, DrainTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, millhand.ErrDrainTimeout) {
			t.Errorf("worker: %v", err)
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for w.Ready(ctx) != nil {
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("worker: %v", err)
		}
	}
	enqueuer, err := millhand.NewClient(as("enqueuer"), config)
	if err != nil {
		t.Fatal(err)
	}
	for id, opts := range map[string][]millhand.EnqueueOption{"doomed": nil, "hanging": nil, "nobody": nil, "later": {millhand.WithDelay(time.Hour)}, "later2": {millhand.WithDelay(time.Hour)}} {
		typ := strings.TrimSuffix(id, "2")
		ref, err := enqueuer.Enqueue(ctx, millhand.Raw{Name: typ, Payload: []byte("{}")}, append(opts, millhand.WithID(id))...)
		if err == nil && id == "doomed" {
			_, err = enqueuer.Await(ctx, ref)
			if errors.Is(err, millhand.ErrFailed) {
				err = nil
			}
		}
		if err != nil {
			t.Fatalf("enqueue %s: %v", id, err)
		}
	}
	<-running
}

// The operations there are, and those who may do them.
func operations() []struct {
	args    []string
	subject string // that it takes
	roles   []string
} {
	type operation = struct {
		args    []string
		subject string
		roles   []string
	}
	both, admin := []string{"operator", "admin"}, []string{"admin"}
	return []operation{
		{[]string{"pause", "default", "--reason", "x"}, "$KV.millhand-registry.pause.default", both},
		{[]string{"resume", "default"}, "$KV.millhand-registry.pause.default", both},
		{[]string{"workers", "drain", "w"}, "$KV.millhand-registry.order.w", both},
		{[]string{"workers", "undrain", "w"}, "$KV.millhand-registry.order.w", both},
		{[]string{"run", "later/later", "--in", "2h"}, "millhand.default.later.later.later", both},
		{[]string{"retry", "doomed/doomed"}, "millhand.default.ready.doomed.doomed", both},
		{[]string{"cancel", "nobody/nobody"}, "$KV.millhand-registry.cancel.default.nobody.nobody", both},
		{[]string{"cancel", "hanging/hanging"}, "$KV.millhand-registry.cancel.default.hanging.hanging", both},
		{[]string{"run", "--filter", "state:scheduled", "--all", "--yes"}, "millhand.default.later.", both},
		{[]string{"quota", "doomed", "7"}, "$KV.millhand-registry.grant.doomed._limit", admin},
		{[]string{"rate", "doomed", "7/1s"}, "$KV.millhand-registry.rate.doomed._limit", admin},
	}
}

// With the roles as they are documented each command does what its user may do, and of the rest it says
// which permission is missing and who has it.
func TestRoles(t *testing.T) {
	srv := clitest.StartRoles(t)
	working(t, srv)
	if denied := srv.Denied(""); len(denied) > 0 {
		t.Errorf("worker and enqueuer were denied:\n%s", strings.Join(denied, "\n"))
	}
	for _, args := range [][]string{
		{"status"},
		{"queues"},
		{"queues", "default"},
		{"types"},
		{"types", "doomed"},
		{"list"},
		{"list", "state:dead"},
		{"list", "state:scheduled"},
		{"list", "state:running"},
		{"list", "payload:foo"},
		{"dead"},
		{"dead", "groups"},
		{"dead", "export"},
		{"inspect", "doomed/doomed"},
		{"inspect", "hanging"},
		{"why", "nobody"},
		{"why", "later/later"},
		{"why", "hanging"},
		{"workers"},
		{"workers", "w"},
		{"running"},
		{"stats"},
		{"audit"},
		{"quota"},
		{"rate"},
		{"cron"},
		{"retry", "doomed", "--dry-run"},
		{"watch", "--since", "1h", "-n", "1"},
	} {
		out, errs, code := call(t, srv, "viewer", args...)
		if denied := srv.Denied("viewer"); code != 0 || len(denied) > 0 || strings.Contains(out+errs, "permission") {
			t.Errorf("viewer, %q: exit code %d, %s%s%q", args, code, out, errs, denied)
		}
	}
	for _, op := range operations() {
		roles := []string{"enqueuer", "viewer", "worker", "operator", "admin"}
		if !strings.Contains(op.subject, "registry") || strings.Contains(op.subject, ".cancel.") {
			roles = slices.Delete(roles, 2, 3) // a worker has to write all that a job becomes
		}
		for _, role := range roles {
			_, errs, code := call(t, srv, role, op.args...)
			denied := srv.Denied(role)
			may, subject := slices.Contains(op.roles, role), op.subject
			if role == "enqueuer" {
				subject = "" // which job or queue is meant takes a look that it may not have
			}
			switch {
			case may && role == "admin" && len(op.roles) > 1 && len(denied) == 0: // the operator was there before
			case may && (code != 0 || len(denied) > 0):
				t.Errorf("%s, %q: exit code %d, %s%q", role, op.args, code, errs, denied)
			case !may && (code == 0 || !strings.Contains(errs, "has no permission to publish to "+subject) || !strings.Contains(errs, "admin")):
				t.Errorf("%s, %q: exit code %d, %s%q", role, op.args, code, errs, denied)
			}
		}
	}
}
