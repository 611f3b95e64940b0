package integration

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

// documented starts a server with the narrower users of docs/security.md; clerk gets what is documented for
// flags that need more, if it is to have that, and shop what the first sentences of these items say.
func documented(t *testing.T, more bool, shop ...string) *server.Server {
	t.Helper()
	doc, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "## Narrower users")
	if !ok {
		t.Fatal("docs/security.md has no section of narrower users")
	}
	parts := strings.SplitN(rest, "```", 3)
	conf := parts[1]
	subject := regexp.MustCompile("`([^` ]+)`")
	for item := range strings.SplitSeq(parts[2], "\n- ") {
		item = strings.ReplaceAll(item, "\n  ", " ")
		if slices.ContainsFunc(shop, func(begin string) bool { return strings.HasPrefix(item, begin) }) {
			const own = `"millhand.default.ready.>"`
			first, _, _ := strings.Cut(item, ". ")
			for _, s := range subject.FindAllStringSubmatch(first, -1) {
				conf = strings.Replace(conf, own, own+`, "`+s[1]+`"`, 1)
			}
		}
		_, subjects, ok := strings.Cut(item, "needs the permissions of `clerk`, and to publish to")
		if !ok || !more {
			continue
		}
		const own = `"$JS.API.STREAM.MSG.GET.millhand-events"`
		for _, s := range subject.FindAllStringSubmatch(subjects, -1) {
			conf = strings.Replace(conf, own, own+`, "`+s[1]+`"`, 1)
		}
	}
	file := writeFile(t, "nats.conf", conf)
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("the documented configuration: %v", err)
	}
	opts.Host, opts.Port, opts.NoLog, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	opts.JetStream, opts.StoreDir = true, t.TempDir()
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("no server")
	}
	return srv
}

// as connects as a documented user, whose refusals are sent to the channel.
func as(t *testing.T, srv *server.Server, user, password string) (*nats.Conn, <-chan error) {
	t.Helper()
	refused := make(chan error, 1000)
	nc, err := nats.Connect(srv.ClientURL(), append(millhand.ConnectOptions(slog.New(slog.DiscardHandler)),
		nats.Timeout(patience), nats.UserInfo(user, password), nats.CustomInboxPrefix("_INBOX."+user),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, refused
}

func clientOf(t *testing.T, nc *nats.Conn) *millhand.Client {
	t.Helper()
	c, err := millhand.NewClient(nc, millhand.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The documented permissions are enough for what each user is for.
func TestDocumentedPermissionsSuffice(t *testing.T) {
	srv := documented(t, true)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	workerConn, workerRefused := as(t, srv, "worker", "change-me-3")
	mux := millhand.NewMux()
	mux.HandleFunc("echo", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) { return j.Args.Payload, nil })
	mux.HandleFunc("flaky", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		if j.Attempt == 1 {
			return nil, millhand.RetryAfter(10*time.Millisecond, errors.New("not yet"))
		}
		return nil, nil
	})
	mux.HandleFunc("doomed", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New("never"))
	})
	w, err := millhand.NewWorker(workerConn, millhand.WorkerConfig{
		Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)}, Mux: mux,
		Quotas: []millhand.Quota{{Type: "echo", Limit: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(running) }()
	until(t, "the worker is ready", func() bool { return w.Ready(ctx) == nil })

	shopConn, shopRefused := as(t, srv, "shop", "change-me-1")
	clerkConn, clerkRefused := as(t, srv, "clerk", "change-me-2")
	shop, clerk := clientOf(t, shopConn), clientOf(t, clerkConn)
	if _, err := shop.Enqueue(ctx, millhand.Raw{Name: "echo", Payload: []byte(`{}`)}); err != nil {
		t.Errorf("shop enqueues: %v", err)
	}
	if _, err := shop.EnqueueMany(ctx, []millhand.Request{{Args: millhand.Raw{Name: "echo", Payload: []byte(`1`)}}, {Args: millhand.Raw{Name: "echo", Payload: []byte(`2`)}}}); err != nil {
		t.Errorf("shop enqueues many: %v", err)
	}
	for typ, want := range map[string]millhand.State{"echo": millhand.Succeeded, "flaky": millhand.Succeeded, "doomed": millhand.Dead} {
		ref, err := clerk.Enqueue(ctx, millhand.Raw{Name: typ, Payload: []byte(`{}`)}, millhand.WithID("chosen-"+typ))
		if err != nil {
			t.Errorf("clerk enqueues: %v", err)
			continue
		}
		if info, err := clerk.Await(ctx, ref); info.State != want {
			t.Errorf("clerk waits for %s: %s, %v, want %s", typ, info.State, err, want)
		}
		if info, err := clerk.Get(ctx, ref); err != nil || info.State != want {
			t.Errorf("clerk asks for %s: %s, %v, want %s", typ, info.State, err, want)
		}
	}
	if _, err := clerk.Enqueue(ctx, millhand.Raw{Name: "echo", Payload: []byte(`{}`)}, millhand.WithRejectAtQuota()); err != nil {
		t.Errorf("clerk enqueues below the quota: %v", err)
	}
	if _, err := clerk.Enqueue(ctx, millhand.Raw{Name: "echo", Payload: []byte(`{}`)}, millhand.WithID("chosen-echo")); err != nil {
		t.Errorf("clerk chooses an id that has ended: %v", err)
	}
	lines := writeFile(t, "jobs.ndjson", "{}\n{}\n")
	for range 2 {
		if _, stderr, code := runEnqueue(t, "", "-s", srv.ClientURL(), "--user", "clerk", "--password", "change-me-2", "--inbox-prefix", "_INBOX.clerk",
			"--from", lines, "--resume", "a", "echo"); code != 0 {
			t.Errorf("clerk resumes: exit code %d, %s", code, stderr)
		}
	}
	waiting, err := clerk.Enqueue(ctx, millhand.Raw{Name: "nobody", Payload: []byte(`{}`)}, millhand.WithID("waits"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := clerk.Get(ctx, waiting); err != nil || info.State != millhand.Ready {
		t.Errorf("clerk asks for a job that waits: %s, %v", info.State, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the worker: %v", err)
	}
	for user, refused := range map[string]<-chan error{"worker": workerRefused, "shop": shopRefused, "clerk": clerkRefused} {
		select {
		case err := <-refused:
			t.Errorf("%s: %v", user, err)
		default:
		}
	}
}

// Who only enqueues needs no more than what is said beside an option.
func TestDocumentedAdditionsSuffice(t *testing.T) {
	for _, tt := range []struct {
		item string // how it begins
		opt  millhand.EnqueueOption
	}{
		{"A job that waits for its time", millhand.WithDelay(time.Hour)},
		{"`enqueue --unique=1h`", millhand.WithUniqueFor(time.Hour)},
	} {
		srv := documented(t, false, tt.item)
		maker, _ := as(t, srv, "operator", "change-me-4")
		shopConn, refused := as(t, srv, "shop", "change-me-1")
		if _, err := clientOf(t, maker).Enqueue(t.Context(), millhand.Raw{Name: "echo", Payload: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
		if _, err := clientOf(t, shopConn).Enqueue(t.Context(), millhand.Raw{Name: "echo", Payload: []byte(`{}`)}, tt.opt); err != nil {
			t.Errorf("%s: %v", tt.item, err)
		}
		select {
		case err := <-refused:
			t.Errorf("%s: %v", tt.item, err)
		default:
		}
	}
}

// What is refused is said so, and is no broker that does not answer.
func TestRefusedReadIsNamed(t *testing.T) {
	srv := documented(t, false)
	nc, _ := as(t, srv, "clerk", "change-me-2")
	_, err := clientOf(t, nc).Enqueue(t.Context(), millhand.Raw{Name: "echo", Payload: []byte(`{}`)}, millhand.WithRejectAtQuota())
	if !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("Enqueue at a quota that cannot be read: %v, want a permissions violation", err)
	}
}

// Who may enqueue reads no payloads but its own, and cannot forge what happened.
func TestDocumentedPermissionsRefuse(t *testing.T) {
	srv := documented(t, false)
	for user, password := range map[string]string{"shop": "change-me-1", "clerk": "change-me-2"} {
		nc, refused := as(t, srv, user, password)
		for _, subject := range []string{
			"millhand.event.default.echo.x", "millhand.dead.default.echo.x", "millhand.event.ready.echo.x", "millhand.dead.ready.echo.x",
			"millhand.control.cancel", "millhand.other.ready.echo.x", "millhand.default.later.echo.x", "millhand.default.pin",
			"$JS.API.STREAM.MSG.GET.millhand-dead", "$JS.API.STREAM.MSG.GET.KV_millhand-registry", "$JS.API.STREAM.MSG.GET.millhand-queue-other",
			"$JS.API.DIRECT.GET.KV_millhand-registry", "$JS.API.STREAM.PURGE.millhand-queue-default", "$JS.API.STREAM.DELETE.millhand-events",
			"$JS.API.CONSUMER.MSG.NEXT.millhand-queue-default.echo", "$JS.API.CONSUMER.CREATE.millhand-queue-default",
			"$JS.ACK.millhand-queue-default.echo.1.1.1.1.1", "$KV.millhand-registry.grant.echo._limit", "_INBOX.worker.x",
		} {
			if err := nc.Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, refused, user, "publish to", subject)
		}
		for _, subject := range []string{"_INBOX.>", "_INBOX.worker.>", ">", "millhand.>", "millhand.default.ready.>", "millhand.dead.>", "$JS.ACK.>", "$KV.>"} {
			if _, err := nc.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, refused, user, "subscribe to", subject)
		}
	}
}

func wantRefusal(t *testing.T, refused <-chan error, user, does, subject string) {
	t.Helper()
	err := receive(t, user+" may "+does+" "+subject, refused)
	if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), subject) {
		t.Errorf("%s, %s %s: %v", user, does, subject, err)
	}
}
