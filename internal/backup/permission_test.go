package backup_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/backup"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// A user who may not is told which permission it lacks, and nothing is touched.
func TestWhoMayNotIsTold(t *testing.T) {
	inScene(t, func(m *mill) {
		noise := make([]byte, 700<<10)
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
		for range 4 {                                  // more than is sent before an answer
			if _, err := m.client.Enqueue(m.t.Context(), millhand.Raw{Name: "quick", Payload: noise}); err != nil {
				m.t.Fatal(err)
			}
		}
		file, manifest := m.take(backup.Options{})
		m.server.Stop()
		denied := func(subjects ...string) *server.Permissions {
			return &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: subjects}}
		}
		m.server.Configure = func(o *server.Options) {
			o.Users = []*server.User{
				{Username: "taker", Password: "x", Permissions: denied("$JS.API.STREAM.SNAPSHOT.>")},
				{Username: "silent", Password: "x", Permissions: denied("$JS.SNAPSHOT.ACK.>")},
				{Username: "restorer", Password: "x", Permissions: denied("$JS.API.STREAM.RESTORE.>")},
				{Username: "sender", Password: "x", Permissions: denied("$JS.SNAPSHOT.RESTORE.>")},
				{Username: "all", Password: "x"},
			}
			o.NoAuthUser = "all"
		}
		m.server.Start(m.t)
		time.Sleep(3 * time.Second)
		for user, want := range map[string]string{
			"taker": "$JS.API.STREAM.SNAPSHOT.millhand-queue-default", "silent": "$JS.SNAPSHOT.ACK.",
			"restorer": "$JS.API.STREAM.RESTORE.", "sender": "$JS.SNAPSHOT.RESTORE.",
		} {
			c := m.as(user)
			var err error
			if user == "taker" || user == "silent" {
				_, err = backup.Take(m.t.Context(), c, backup.Options{}, io.Discard)
			} else {
				_, err = c.Look(m.t.Context(), manifest, nil)
			}
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), want) {
				m.t.Errorf("%s: %v, want %s", user, err, want)
			}
		}
		if again, err := backup.Verify(m.t.Context(), bytes.NewReader(file)); err != nil || again.Queues()[0] != "default" {
			m.t.Errorf("%v, %v", again, err)
		}
		if info, err := m.config.Client.Info(m.t.Context(), "millhand-queue-default"); err != nil || info.State.Msgs != 5 {
			m.t.Errorf("the queue: %v", err)
		}
	})
}

func (m *mill) as(user string) backup.Config {
	m.t.Helper()
	log := natstest.Logger(m.t.Output())
	js, err := stream.New(m.server.Connect(m.t, nats.UserInfo(user, "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})), stream.Config{Logger: log})
	if err != nil {
		m.t.Fatal(err)
	}
	return backup.Config{Client: js, Store: queue.NewStore(js, queue.Config{Logger: log}), Registry: registry.NewStore(js, log), Say: m.t.Logf}
}
