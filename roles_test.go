package millhand_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/access"
	"github.com/millhand/millhand/internal/natstest"
)

// withRoles starts the server again with a user of each role, who is called as the role is. Workers may also publish
// to further subjects.
func withRoles(t *testing.T, s *natstest.Server, further ...string) {
	t.Helper()
	s.Stop()
	s.Configure = func(o *server.Options) {
		for _, r := range access.Roles() {
			p := access.Of(r, "millhand", string(r))
			if r == access.Worker {
				p.Publish = append(p.Publish, further...)
			}
			o.Users = append(o.Users, &server.User{Username: string(r), Password: "x", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: p.Publish, Deny: p.DenyPublish},
				Subscribe: &server.SubjectPermission{Allow: p.Subscribe, Deny: p.DenySubscribe},
			}})
		}
	}
	s.Start(t)
}

// as connects as a user of a role, and fails the test if the broker refuses it something.
func as(t *testing.T, s *natstest.Server, r access.Role) *nats.Conn {
	t.Helper()
	return s.Connect(t, append(login(r), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("the role %s: %v", r, err)
		}
	}))...)
}

// refused is as, of one who tries what is not allowed.
func refused(t *testing.T, s *natstest.Server, r access.Role) *millhand.Client {
	t.Helper()
	return client(t, s.Connect(t, append(login(r), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...))
}

func login(r access.Role) []nats.Option {
	return []nats.Option{nats.UserInfo(string(r), "x"), nats.CustomInboxPrefix(access.InboxPrefix(string(r)))}
}

// Two workers, an enqueuer and an operator do for some minutes all there is, and lack no permission.
func TestRolesSuffice(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		withRoles(t, s)
		mux := millhand.NewMux()
		succeed := func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return []byte("1"), nil }
		mux.HandleFunc("echo", succeed)
		mux.HandleFunc("silent", succeed, millhand.TypeConfig{SilentSuccess: true})
		mux.HandleFunc("flaky", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			if j.Attempt == 1 {
				return nil, errors.New("not yet")
			}
			return nil, nil
		})
		mux.HandleFunc("snoozing", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			if time.Since(j.EnqueuedAt) < 5*time.Second {
				return nil, millhand.Snooze(5 * time.Second)
			}
			return nil, nil
		})
		mux.HandleFunc("doomed", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			return nil, millhand.Permanent(errors.New("never"))
		})
		mux.HandleFunc("long", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			j.Progress(1, 2, "half")
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		admin := client(t, as(t, s, access.Admin))
		if err := admin.SetQuota(t.Context(), millhand.Quota{Type: "echo", Limit: 1}); err != nil {
			t.Fatal(err)
		}
		if err := admin.SetQuota(t.Context(), millhand.Quota{Type: "echo", Limit: 100, Per: time.Second}); err != nil {
			t.Fatal(err)
		}
		start := func(name string) (nc *nats.Conn, stop func()) {
			nc = as(t, s, access.Worker)
			w, err := millhand.NewWorker(nc, millhand.WorkerConfig{
				Config: millhand.Config{Logger: testLog(t)}, Mux: mux, Name: name, Concurrency: 8, DrainTimeout: -1,
				Queues: []millhand.Queue{{Name: "default"}, {Name: "low"}},
				Crons:  []millhand.Cron{{Name: "often", Schedule: "* * * * *", Args: millhand.Raw{Name: "echo"}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- w.Run(ctx) }()
			return nc, func() {
				cancel()
				if err := <-ended; err != nil && !errors.Is(err, millhand.ErrDrainTimeout) && nc.IsConnected() {
					t.Errorf("worker %s: %v", name, err)
				}
			}
		}
		doomed, _ := start("doomed")
		time.Sleep(10 * time.Second)
		ctx := t.Context()
		enq, op := client(t, as(t, s, access.Enqueuer)), client(t, as(t, s, access.Operator))
		put := func(typ string, opts ...millhand.EnqueueOption) millhand.Ref {
			t.Helper()
			ref, err := enq.Enqueue(ctx, millhand.Raw{Name: typ, Payload: []byte("{}")}, opts...)
			if err != nil {
				t.Fatalf("enqueue %s: %v", typ, err)
			}
			return ref
		}
		lost := put("long", millhand.WithID("lost"))
		time.Sleep(time.Second)
		doomed.Close() // a worker that is gone with a job in hand
		_, stop := start("w")
		dead := put("doomed", millhand.WithID("dead"))
		for typ, want := range map[string]millhand.State{"echo": millhand.Succeeded, "flaky": millhand.Succeeded, "snoozing": millhand.Succeeded} {
			if info, err := enq.Await(ctx, put(typ, millhand.WithID("a-"+typ))); err != nil || info.State != want {
				t.Errorf("%s: %s, %v", typ, info.State, err)
			}
		}
		put("echo", millhand.WithQueue("low"), millhand.WithUnique())
		put("echo", millhand.WithUniqueFor(time.Minute))
		put("silent")
		put("nobody", millhand.WithExpires(time.Minute))
		moved, later := put("echo", millhand.WithDelay(2*time.Hour)), put("echo", millhand.WithDelay(time.Hour))
		if err := op.Move(ctx, moved, time.Now().Add(time.Hour)); err != nil {
			t.Errorf("move: %v", err)
		}
		if err := op.RunNow(ctx, moved); err != nil {
			t.Errorf("run now: %v", err)
		}
		if _, err := op.Cancel(ctx, later); err != nil {
			t.Errorf("cancel: %v", err)
		}
		if _, err := enq.EnqueueMany(ctx, []millhand.Request{{Args: millhand.Raw{Name: "echo"}}, {Args: millhand.Raw{Name: "flaky"}}}); err != nil {
			t.Errorf("enqueue many: %v", err)
		}
		if _, err := enq.EnqueueAtomic(ctx, []millhand.Request{{Args: millhand.Raw{Name: "echo"}}, {Args: millhand.Raw{Name: "flaky"}}}); err != nil {
			t.Errorf("enqueue all or none: %v", err)
		}
		time.Sleep(time.Minute)
		if running, err := enq.FindRunning(ctx, lost); err != nil || running.ID != lost.ID {
			t.Errorf("the job of the lost worker: %+v, %v", running, err)
		}
		if _, err := op.Cancel(ctx, lost); err != nil {
			t.Errorf("cancel what runs: %v", err)
		}
		for d, err := range op.Dead(ctx, millhand.DeadFilter{Type: dead.Type}) {
			if err == nil {
				_, err = op.Requeue(ctx, d)
			}
			if err != nil {
				t.Errorf("requeue: %v", err)
			}
		}
		if err := op.Pause(ctx, "low"); err != nil {
			t.Errorf("pause: %v", err)
		}
		time.Sleep(2 * time.Minute) // statistics are summed up, ticks come, jobs and holds expire
		if err := op.Resume(ctx, "low"); err != nil {
			t.Errorf("resume: %v", err)
		}
		js := jetStream(t, as(t, s, access.Viewer))
		st, err := js.Stream(ctx, "millhand-stats")
		if err == nil {
			_, err = st.GetLastMsgForSubject(ctx, "millhand.stats.1m")
		}
		if err != nil {
			t.Errorf("statistics: %v", err)
		}
		stop()
		synctest.Wait()
	})
}

// What is not allowed is refused at once, with the permission and who has it.
func TestRefusalsSayWhoMay(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		withRoles(t, s)
		ctx := t.Context()
		admin := client(t, as(t, s, access.Admin))
		ref, err := admin.Enqueue(ctx, millhand.Raw{Name: "echo"}, millhand.WithDelay(time.Hour), millhand.WithID("x"))
		if err == nil {
			err = admin.SetQuota(ctx, millhand.Quota{Type: "echo", Limit: 1})
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			role access.Role
			what string
			do   func(*millhand.Client) error
			want string // the subject begins with
			may  string
		}{
			{access.Viewer, "enqueue", func(c *millhand.Client) error { _, err := c.Enqueue(ctx, millhand.Raw{Name: "echo"}); return err }, "millhand.default.ready.echo.", "the roles enqueuer, worker, operator and admin have it"},
			{access.Viewer, "enqueue later", func(c *millhand.Client) error {
				_, err := c.Enqueue(ctx, millhand.Raw{Name: "echo"}, millhand.WithDelay(time.Hour))
				return err
			}, "millhand.default.later.echo.", "enqueuer"},
			{access.Viewer, "enqueue many", func(c *millhand.Client) error {
				_, err := c.EnqueueMany(ctx, []millhand.Request{{Args: millhand.Raw{Name: "echo"}}, {Args: millhand.Raw{Name: "echo"}}})
				return err
			}, "millhand.default.ready.echo.", "enqueuer"},
			{access.Viewer, "enqueue all or none", func(c *millhand.Client) error {
				_, err := c.EnqueueAtomic(ctx, []millhand.Request{{Args: millhand.Raw{Name: "echo"}}, {Args: millhand.Raw{Name: "echo"}}})
				return err
			}, "millhand.default.ready.echo.", "enqueuer"},
			{access.Viewer, "cancel", func(c *millhand.Client) error { _, err := c.Cancel(ctx, ref); return err }, "$KV.millhand-registry.cancel.default.echo.x", "the roles worker, operator and admin"},
			{access.Viewer, "move", func(c *millhand.Client) error { return c.RunNow(ctx, ref) }, "millhand.default.later.echo.x", "operator"},
			{access.Viewer, "pause", func(c *millhand.Client) error { return c.Pause(ctx, "default") }, "$KV.millhand-registry.pause.default", "the roles operator and admin have it"},
			{access.Operator, "quota", func(c *millhand.Client) error { return c.SetQuota(ctx, millhand.Quota{Type: "echo", Limit: 2}) }, "$KV.millhand-registry.grant.echo._limit", "the role admin has it"},
			{access.Worker, "quota", func(c *millhand.Client) error { return c.SetQuota(ctx, millhand.Quota{Type: "echo", Limit: 2}) }, "$KV.millhand-registry.grant.echo._limit", "the role admin has it"},
			{access.Worker, "pause", func(c *millhand.Client) error { return c.Pause(ctx, "default") }, "$KV.millhand-registry.pause.default", "the roles operator and admin have it"},
			{access.Worker, "retention", func(c *millhand.Client) error { return c.SetRetention(ctx, millhand.Retention{Results: time.Hour}) }, "$JS.API.STREAM.UPDATE.millhand-events", "the role admin has it"},
			{access.Enqueuer, "cancel", func(c *millhand.Client) error { _, err := c.Cancel(ctx, ref); return err }, "$KV.millhand-registry.cancel.default.echo.x", "worker, operator and admin"},
			{access.Enqueuer, "pause", func(c *millhand.Client) error { return c.Pause(ctx, "default") }, "$KV.millhand-registry.pause.default", "operator and admin"},
			{access.Enqueuer, "new queue", func(c *millhand.Client) error {
				_, err := c.Enqueue(ctx, millhand.Raw{Name: "echo"}, millhand.WithQueue("new"))
				return err
			}, "$JS.API.STREAM.CREATE.millhand-queue-new", "worker and admin have it"},
		} {
			began := time.Now()
			err := tt.do(refused(t, s, tt.role))
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "has no permission to publish to "+tt.want) || !strings.Contains(err.Error(), tt.may) {
				t.Errorf("%s as %s: %v\nwant %s, %s", tt.what, tt.role, err, tt.want, tt.may)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("%s as %s: refused after %v", tt.what, tt.role, took)
			}
		}
	})
}
