package stream_test

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/pipeline/stream"
)

// deniable are users of a broker: owner may do anything, each of the others everything but one thing,
// after which it is named.
func deniable(t *testing.T, publish []string, inbox string) (connect func(user string) *nats.Conn) {
	t.Helper()
	opts := &server.Options{
		DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{{Username: "owner", Password: "x"}, {Username: inbox, Password: "x", Permissions: &server.Permissions{
			Subscribe: &server.SubjectPermission{Deny: []string{inbox}},
		}}},
	}
	for _, subject := range publish {
		opts.Users = append(opts.Users, &server.User{Username: subject, Password: "x", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{subject}},
		}})
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(srv.Shutdown)
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready")
	}
	return func(user string) *nats.Conn {
		nc, err := nats.Connect("", nats.InProcessServer(srv), nats.UserInfo(user, "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
}

// Who lacks a permission is told which one, whatever the stream is for; of a consumer that it may
// not remove the broker takes care.
func TestReadWithoutAPermission(t *testing.T) {
	const (
		info   = "$JS.API.STREAM.INFO.S"
		get    = "$JS.API.STREAM.MSG.GET.S"
		create = "$JS.API.CONSUMER.CREATE.S.>"
		next   = "$JS.API.CONSUMER.MSG.NEXT.S.>"
		remove = "$JS.API.CONSUMER.DELETE.S.>"
		inbox  = "_INBOX.>"
	)
	tests := []struct {
		retention jetstream.RetentionPolicy
		subject   string // filter
		denied    string
		wants     bool // an error
	}{
		{jetstream.LimitsPolicy, "", info, true},
		{jetstream.LimitsPolicy, "s.none", get, true}, // a filter that lets nothing through: asks for more than a page
		{jetstream.LimitsPolicy, "", create, true},
		{jetstream.LimitsPolicy, "", next, true},
		{jetstream.LimitsPolicy, "", remove, false},
		{jetstream.LimitsPolicy, "", inbox, true},
		{jetstream.WorkQueuePolicy, "", info, true},
		{jetstream.WorkQueuePolicy, "", get, true},
		{jetstream.WorkQueuePolicy, "", create, false},
		{jetstream.WorkQueuePolicy, "", next, false},
		{jetstream.WorkQueuePolicy, "", inbox, true},
	}
	for _, retention := range []jetstream.RetentionPolicy{jetstream.LimitsPolicy, jetstream.WorkQueuePolicy} {
		connect := deniable(t, []string{info, get, create, next, remove}, inbox)
		js, err := jetstream.New(connect("owner"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: retention}); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"1", "2"} {
			if _, err := js.Publish(t.Context(), "s.numbers", []byte(n)); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range tests {
			if tt.retention != retention {
				continue
			}
			values := stream.Read(t.Context(), connect(tt.denied), stream.ReadConfig{Stream: "S", Subject: tt.subject}, stream.JSON[int])
			readDenied(t, retention.String()+" without "+tt.denied, values, tt.denied, tt.wants)
		}
	}
}

func readDenied(t *testing.T, name string, values iter.Seq2[int, error], denied string, wants bool) {
	t.Helper()
	found, err := collect(values, 0, nil)
	if !wants {
		if err != nil || !slices.Equal(found, []int{1, 2}) {
			t.Errorf("%s: %v, %v", name, found, err)
		}
		return
	}
	said := strings.TrimSuffix(denied, ".>")
	if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), said) || len(found) > 0 {
		t.Errorf("%s: %v, %v", name, found, err)
	}
}
