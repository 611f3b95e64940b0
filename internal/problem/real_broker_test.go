package problem_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

// faultsOfBrokers are those of streams and consumers. Those of replicas are in test/integration, since a
// bubble has one server.
func faultsOfBrokers() []fault {
	return []fault{
		{"P15, of a stream", func(s *site) {
			s.hire(ends)
			s.link.Watch(lose("STREAM.INFO." + eventsStream))
		}, "leaderless millhand-events: stream millhand-events: it does not answer"},
		{"P15, of the registry", func(s *site) {
			s.hire(ends)
			s.link.Watch(lose("GET.KV_millhand-registry", "GET.LAST_FOR"))
		}, "leaderless registry: the registry: it does not answer"},
		{"P17, of a stream", func(s *site) {
			s.hire(func(context.Context) error { return millhand.Permanent(errors.New(strings.Repeat("x", 900))) })
			s.enqueue(8)
			s.sleep(10 * time.Second)
			s.must(s.js.Edit(s.Context(), "millhand-dead", func(cfg *jetstream.StreamConfig) bool {
				cfg.MaxBytes, cfg.Discard = 12<<10, jetstream.DiscardNew
				return true
			}))
			s.sleep(10 * time.Second)
		}, "disk millhand-dead: stream millhand-dead: "},
		{"P17, of the account", func(s *site) {
			s.server.Stop()
			s.server.Configure = func(o *server.Options) {
				s.must(o.ProcessConfigString(`accounts: {small: {jetstream: {max_file: 64K}, users: [{user: u, password: p}]}}, no_auth_user: u`))
			}
			s.server.Start(s.T)
			s.sleep(time.Second)
			_, err := s.client.Enqueue(s.Context(), millhand.Raw{Name: "email", Payload: fmt.Appendf(nil, "%q", strings.Repeat("x", 56<<10))})
			s.must(err)
			s.sleep(10 * time.Second)
		}, "disk account: the broker's account: 90 % of what it may store is used"},
		{"P17, of history", func(s *site) {
			s.hireAs(millhand.WorkerConfig{Retention: millhand.Retention{Events: millhand.MinKeptEvents}}, 0, ends)
			s.enqueue(1100)
			s.sleep(90 * time.Second)
		}, "disk millhand-events: stream millhand-events: the 1,000 events that are kept reach back for "},
	}
}
