package integration

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/clitest"
)

// An attacker has the credentials of a role.
type attacker struct {
	t       *testing.T
	role    string
	nc      *nats.Conn
	refused chan error
}

func attack(t *testing.T, srv *clitest.Roles, role string) *attacker {
	t.Helper()
	a := &attacker{t: t, role: role, refused: make(chan error, 100)}
	var err error
	a.nc, err = nats.Connect(srv.ClientURL(), append(millhand.ConnectOptions(slog.New(slog.DiscardHandler)),
		nats.Timeout(patience), nats.UserInfo(role, "change-me-"+role), nats.CustomInboxPrefix("_INBOX."+role),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { a.refused <- err }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.nc.Close)
	return a
}

// send publishes, and returns when the broker has acted on it.
func (a *attacker) send(m *nats.Msg) {
	a.t.Helper()
	if err := errors.Join(a.nc.PublishMsg(m), a.nc.Flush()); err != nil {
		a.t.Fatal(err)
	}
}

func (a *attacker) mayNotPublish(subjects ...string) {
	a.t.Helper()
	for _, s := range subjects {
		a.send(&nats.Msg{Subject: s})
		wantRefusal(a.t, a.refused, a.role, "publish to", s)
	}
}

func (a *attacker) mayNotSubscribe(subjects ...string) {
	a.t.Helper()
	for _, s := range subjects {
		if _, err := a.nc.SubscribeSync(s); err != nil {
			a.t.Fatal(err)
		}
		wantRefusal(a.t, a.refused, a.role, "subscribe to", s)
	}
}

// What the roles of docs/security.md have the broker refuse, whatever a client sends.
func TestRolesRefuse(t *testing.T) {
	srv := clitest.StartRoles(t)
	everybodys := []string{
		"$KV.millhand-registry.key.echo", "$KV.millhand-registry.grant.echo._limit", "$KV.millhand-registry.rate.echo._limit",
		"$JS.API.STREAM.DELETE.millhand-events", "$JS.API.STREAM.UPDATE.millhand-events", "$JS.API.STREAM.PURGE.millhand-queue-default",
		"$JS.API.STREAM.MSG.DELETE.KV_millhand-registry", "$JS.API.STREAM.PEER.REMOVE.millhand-events", "$JS.API.SERVER.REMOVE",
		"$JS.API.ACCOUNT.PURGE.MILLHAND", "$JS.API.STREAM.RESTORE.x", "$JS.API.CONSUMER.DELETE.millhand-queue-default.echo", "$SYS.REQ.SERVER.PING",
	}
	heard := []string{">", "*.>", "$JS.>", "$KV.>", "_INBOX.>", "_INBOX.*.>", "_INBOX.admin.>", "millhand.>", "millhand.dead.>", "$JS.ACK.>"}
	pulls := []string{
		"$JS.API.CONSUMER.MSG.NEXT.millhand-queue-default.echo", "$JS.API.CONSUMER.CREATE.millhand-queue-default.x",
		"$JS.API.CONSUMER.CREATE.millhand-queue-default.x.millhand.default.ready.echo.*", "$JS.API.CONSUMER.CREATE.millhand-queue-default",
		"$JS.API.CONSUMER.DURABLE.CREATE.millhand-queue-default.x", "$JS.ACK.millhand-queue-default.echo.1.1.1.1.1", "$JS.ACK.a.b.millhand-queue-default.echo.1.1.1.1.1.1",
	}
	orders := []string{"$KV.millhand-registry.pause.default", "$KV.millhand-registry.order.w"}
	jobs := []string{
		"$KV.millhand-registry.cancel.default.echo.x", "millhand.control.cancel", "millhand.event.default.echo.x", "millhand.event.ready.echo.x", "millhand.dead.ready.echo.x",
		"millhand.dead.default.echo.x", "millhand.stats.ready.x.y", "millhand.default.pin", "millhand.default.once.echo.x", "millhand.default.cron.x", "$JS.API.STREAM.MSG.DELETE.millhand-queue-default",
	}

	viewer := attack(t, srv, "viewer")
	viewer.mayNotPublish(everybodys...)
	viewer.mayNotPublish(pulls...)
	viewer.mayNotPublish(orders...)
	viewer.mayNotPublish(jobs...)
	viewer.mayNotPublish("millhand.default.ready.echo.x", "millhand.*.ready.echo.x", "_INBOX.worker.x", "$JS.API.STREAM.CREATE.x")
	viewer.mayNotSubscribe(heard...)
	viewer.mayNotSubscribe("millhand.*.ready.>", "millhand.control.>")

	enqueuer := attack(t, srv, "enqueuer")
	enqueuer.mayNotPublish(everybodys...)
	enqueuer.mayNotPublish(pulls...)
	enqueuer.mayNotPublish(orders...)
	enqueuer.mayNotPublish(jobs...)
	enqueuer.mayNotPublish("millhand.default.ready.echo", "millhand.default.ready.echo.x.y", "$JS.API.STREAM.MSG.GET.millhand-dead", "$JS.API.DIRECT.GET.millhand-dead",
		"$JS.API.DIRECT.GET.millhand-dead.millhand.dead.default.echo.x", "$JS.API.STREAM.CREATE.x")
	enqueuer.mayNotSubscribe(heard...)
	enqueuer.mayNotSubscribe("millhand.*.ready.>", "millhand.control.>")

	worker := attack(t, srv, "worker")
	worker.mayNotPublish(everybodys...)
	worker.mayNotPublish(orders...)
	worker.mayNotPublish("millhand.stats.audit.run", "$JS.API.STREAM.MSG.DELETE.millhand-dead", "$JS.API.STREAM.MSG.DELETE.millhand-stats")
	worker.mayNotSubscribe(heard...)

	operator := attack(t, srv, "operator")
	operator.mayNotPublish(everybodys...)
	operator.mayNotPublish(pulls...)
	operator.mayNotPublish("$JS.API.STREAM.CREATE.x", "millhand.stats.1m", "millhand.default.pin")
	operator.mayNotSubscribe(heard...)
}

// What permissions cannot prevent, since they are about subjects and neither about headers nor about where
// an answer goes. docs/security.md says so. If one of these fails, a newer server prevents it: say that there.
func TestRolesDoNotPrevent(t *testing.T) {
	srv := clitest.StartRoles(t)
	adminConn := attack(t, srv, "admin").nc
	admin := clientOf(t, adminConn)
	js, err := jetstream.New(adminConn)
	if err != nil {
		t.Fatal(err)
	}
	count := func(stream string) uint64 {
		t.Helper()
		st, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		return st.CachedInfo().State.Msgs
	}
	for _, id := range []string{"a", "b"} {
		if _, err := admin.Enqueue(t.Context(), millhand.Raw{Name: "echo", Payload: []byte("{}")}, millhand.WithID(id)); err != nil {
			t.Fatal(err)
		}
	}

	// The broker sends its answer wherever the asker says.
	attack(t, srv, "viewer").send(&nats.Msg{Subject: "$JS.API.INFO", Reply: "$KV.millhand-registry.pause.default"})
	until(t, "a viewer pauses a queue by an answer of the broker's", func() bool {
		paused, err := admin.Paused(t.Context())
		_, found := paused["default"]
		return found || err != nil && strings.Contains(err.Error(), "pause.default")
	})

	// Headers of a message do more than to store it.
	attack(t, srv, "enqueuer").send(&nats.Msg{Subject: "millhand.default.ready.echo.c", Header: nats.Header{"Nats-Rollup": {"all"}}})
	until(t, "an enqueuer empties a queue", func() bool { return count("millhand-queue-default") == 1 })
	attack(t, srv, "worker").send(&nats.Msg{Subject: "$KV.millhand-registry.node.x", Header: nats.Header{"Nats-Rollup": {"all"}}})
	until(t, "a worker empties the registry", func() bool { return count("KV_millhand-registry") == 1 })
}
