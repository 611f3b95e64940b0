package registry

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/stream"
)

// A broker that was killed has permits again that had expired, and never removes them. Nodes do.
func TestPermitsThatHaveExpiredDoNotComeBack(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 2, 0)
		all, err := json.Marshal(Grant{Held: 2, Used: 2, Need: 2, Want: 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{grantKey(imports, "dead"), nodeKey("dead")} {
			if _, err := s.store.bucket.Put(s.ctx, stream.Write{Key: key, Value: all, TTL: DefaultTTL}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Minute) // long enough for the broker to note how far it has looked
		if held := s.held(imports); len(held) > 0 {
			t.Fatalf("before the broker ends, %v is held", held)
		}
		s.server.Kill(t)
		s.server.Start(t)
		time.Sleep(5 * time.Minute)
		if _, ok := s.held(imports)["dead"]; !ok {
			t.Fatal("the broker does not bring back what had expired: the nodes need not look for it any more")
		}
		s.node("alive", busy)
		time.Sleep(30 * time.Second)
		if held := s.held(imports); held["dead"].Held > 0 || held["alive"].Held != 2 {
			t.Errorf("held: %+v, want all by the node that is alive", held)
		}
		if entry, err := s.store.bucket.Get(s.ctx, nodeKey("dead")); err == nil {
			t.Errorf("the dead node is present: %+v", entry)
		}
	})
}

// What another worker's broker brings back while nodes are connected goes with the new connection.
func TestPermitsThatComeBackWhileNodesAreThere(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 2, 0)
		alive := s.node("alive", busy)
		all, err := json.Marshal(Grant{Held: 2, Used: 2, Need: 2, Want: 2})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.store.bucket.Put(s.ctx, stream.Write{Key: grantKey(imports, "dead"), Value: all, TTL: DefaultTTL}); err != nil {
			t.Fatal(err)
		}
		_ = alive
		time.Sleep(10 * time.Minute)
		s.server.Kill(t)
		s.server.Start(t)
		time.Sleep(time.Minute)
		if held := s.held(imports); held["dead"].Held > 0 {
			t.Errorf("held: %+v", held)
		}
	})
}
