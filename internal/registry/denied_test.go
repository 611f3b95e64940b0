package registry

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
)

// Who lacks a permission is told which one, and does not wait for an answer that never comes
// for longer than one request takes.
func TestDeniedRequestsSayWhatIsMissing(t *testing.T) {
	srv, err := server.NewServer(&server.Options{
		DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{
			{Username: "all", Password: "x"},
			{Username: "none", Password: "x", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{"$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*", "$JS.API.INFO"}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready")
	}
	open := func(user string) *Store {
		nc, err := nats.Connect("", nats.InProcessServer(srv), nats.UserInfo(user, "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		log := slog.New(slog.DiscardHandler)
		c, err := stream.New(nc, stream.Config{Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		return NewStore(c, log)
	}
	if err := open("all").SetLimit(t.Context(), imports, Limit{Jobs: 5}); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	var all sync.WaitGroup
	for what, ask := range map[string]func(s *Store) error{
		"set a limit": func(s *Store) error { return s.SetLimit(ctx, imports, Limit{Jobs: 6}) },
		"remove one":  func(s *Store) error { return s.SetLimit(ctx, imports, Limit{}) },
		"pause":       func(s *Store) error { return s.Pause(ctx, "default") },
		"read limits": func(s *Store) error { _, err := s.Usages(ctx); return err },
		"read nodes":  func(s *Store) error { _, err := s.Nodes(ctx); return err },
	} {
		s := open("none")
		all.Go(func() { // each waits a second of real time
			if err := ask(s); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	all.Wait()
}
