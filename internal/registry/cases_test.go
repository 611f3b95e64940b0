package registry

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/stream"
)

// testCase is one observation of Elixir's Registry, or of the book's job runner on it.
// Verdict "carry" means that we behave the same; "adapt" and "avoid" that we behave as the
// field Go says.
type testCase struct {
	ID, Title, Verdict, Go string
}

// Of Elixir's Registry this package is what a system of jobs needs. A job's id is the unique key,
// which the queue's stream guards; its owner is the worker that runs it, and is found by asking;
// watchers hear of deaths as well, which those of Registry do not. A quota is for a type, while the
// book counts whatever runs.
//
// elsewhere says of the cases that are not played here why. Those of the enqueueing side
// are played by the package millhand, on the same file.
var elsewhere = map[string]string{
	"quota-book":         "package millhand",
	"quota-frees":        "package millhand",
	"quota-race":         "package millhand",
	"quota-duplicate-id": "package millhand",
	"reg-via":            "package millhand: a job is named by its id",
	"reg-duplicate":      "there are no keys with many owners",
	"reg-dispatch":       "nothing is dispatched by key",
	"reg-update-value":   "what a node says of itself is written by it alone",
	"reg-unregister":     "as reg-update-value",
}

func TestCases(t *testing.T) {
	play := map[string]func(s *scene){
		"reg-contention": playContention,
		"reg-lookup":     playLookup,
		"reg-listeners":  playListeners,
		"quota-select":   playSelect,
	}
	text, err := os.ReadFile(filepath.Join("testdata", "registry.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []testCase }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Cases {
		t.Run(c.ID, func(t *testing.T) {
			f, ok := play[c.ID]
			if !ok && elsewhere[c.ID] == "" {
				t.Fatalf("no test for the %s case %q: %s", c.Verdict, c.ID, c.Title)
			}
			if ok {
				inScene(t, f)
			}
		})
	}
}

// Four contenders for one permit, 200 rounds: exactly one has it each time.
func playContention(s *scene) {
	const contenders, rounds = 4, 200
	s.limit(imports, 1, 0)
	for round := range rounds {
		var wg sync.WaitGroup
		errs := make([]error, contenders)
		entries, _, err := s.store.bucket.Read(s.ctx, grantsOf(imports))
		if err != nil {
			s.t.Fatal(err)
		}
		last := entries[len(entries)-1].Rev
		for i := range contenders {
			key := grantKey(imports, string(rune('a'+i)))
			wg.Go(func() {
				_, errs[i] = s.store.bucket.Put(s.ctx, stream.Write{Key: key, Value: []byte(`{"held":1}`), TTL: DefaultTTL, On: grantsOf(imports), Rev: last})
			})
		}
		wg.Wait()
		if won := len(slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, stream.ErrConflict) })); won != 1 {
			s.t.Fatalf("round %d: %d won, errors %v", round, won, errs)
		}
	}
}

// A running job is found with its owner, and not after the owner's death.
func playLookup(s *scene) {
	n := s.node("a", nodeConfig{concurrency: 1, types: []string{"import"}, jobs: time.Hour})
	time.Sleep(100 * time.Millisecond)
	r, found, err := s.store.Owner(s.ctx, "default", "import", "a-1")
	if err != nil || !found || r.Node != "a" || r.Type != "import" {
		s.t.Errorf("job a-1: %+v, %t, %v", r, found, err)
	}
	if r, found, err := s.store.Owner(s.ctx, "default", "import", "nope"); err != nil || found {
		s.t.Errorf("job nope: %+v, %t, %v", r, found, err)
	}
	time.Sleep(4 * time.Second) // its presence has the job
	n.crash()
	if _, found, err := s.store.Owner(s.ctx, "default", "import", "a-1"); err != nil || !found {
		s.t.Errorf("just after the crash nobody can know of it: %t, %v", found, err)
	}
	time.Sleep(DefaultTTL)
	if r, found, err := s.store.Owner(s.ctx, "default", "import", "a-1"); err != nil || found {
		s.t.Errorf("after the owner's death: %+v, %t, %v", r, found, err)
	}
	if nodes, err := s.store.Nodes(s.ctx); err != nil || len(nodes) != 0 {
		s.t.Errorf("nodes after the death: %v, %v", nodes, err)
	}
	again := s.node("a", nodeConfig{concurrency: 1})
	if nodes, err := s.store.Nodes(s.ctx); err != nil || len(nodes) != 1 || nodes[0].ID != again.id {
		s.t.Errorf("nodes after another start: %v, %v", nodes, err)
	}
	if ids, err := s.store.NodeIDs(s.ctx); err != nil || len(ids) != 1 || ids[0] != again.id {
		s.t.Errorf("their ids: %v, %v", ids, err)
	}
}

// Watchers are told of nodes that come, stop and die, also while the broker restarts.
func playListeners(s *scene) {
	ctx, cancel := context.WithCancel(s.ctx)
	events := make(chan string, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for e, err := range s.store.WatchNodes(ctx) {
			if err != nil {
				s.t.Errorf("watch: %v", err)
			}
			events <- e.Kind + " " + e.Node.ID
		}
	})
	expect := func(within time.Duration, want ...string) {
		s.t.Helper()
		timeout := time.After(within)
		for _, w := range want {
			select {
			case got := <-events:
				if got != w {
					s.t.Errorf("event %q, want %q", got, w)
				}
			case <-timeout:
				s.t.Errorf("no event %q within %v", w, within)
			}
		}
	}
	a := s.node("a", nodeConfig{concurrency: 1})
	expect(time.Second, "joined a")
	b := s.node("b", nodeConfig{concurrency: 1})
	expect(time.Second, "joined b")
	a.leave()
	expect(time.Second, "left a")
	time.Sleep(time.Minute)
	b.crash()
	expect(15*time.Second, "expired b")
	c := s.node("c", nodeConfig{concurrency: 1})
	expect(time.Second, "joined c")
	s.server.Stop()
	time.Sleep(time.Second)
	s.server.Start(s.t)
	time.Sleep(30 * time.Second)
	c.leave()
	expect(time.Second, "left c")
	if len(events) > 0 {
		s.t.Errorf("one more event: %s", <-events)
	}
	cancel()
	wg.Wait()
}

// What runs is listed, all or of one type, as the nodes say when they are asked, the frozen
// as they said last.
func playSelect(s *scene) {
	s.node("a", nodeConfig{concurrency: 2, types: []string{"import"}, jobs: time.Hour})
	b := s.node("b", nodeConfig{concurrency: 1, types: []string{"email"}, jobs: time.Hour})
	time.Sleep(100 * time.Millisecond)
	ids := func(typ string) (ids []string) {
		running, err := s.store.Running(s.ctx, typ)
		if err != nil {
			s.t.Errorf("running: %v", err)
		}
		for _, r := range running {
			ids = append(ids, r.Node+" "+r.ID)
		}
		slices.Sort(ids)
		return ids
	}
	if got := ids("import"); !slices.Equal(got, []string{"a a-1", "a a-2"}) {
		s.t.Errorf("imports %q", got)
	}
	all := []string{"a a-1", "a a-2", "b b-1"}
	if got := ids(""); !slices.Equal(got, all) {
		s.t.Errorf("all %q", got)
	}
	time.Sleep(4 * time.Second)
	b.freeze()
	if got := ids(""); !slices.Equal(got, all) {
		s.t.Errorf("all with one frozen %q", got)
	}
	if got := ids("none"); len(got) != 0 {
		s.t.Errorf("of no type %q", got)
	}
	b.thaw()
}

// A record stays small however much a node runs; all of it is in its answers.
func TestBusyNode(t *testing.T) {
	inScene(t, func(s *scene) {
		s.node("a", nodeConfig{concurrency: 500, types: []string{"import"}, jobs: time.Hour})
		time.Sleep(4 * time.Second)
		nodes, err := s.store.Nodes(s.ctx)
		if err != nil || len(nodes) != 1 || len(nodes[0].Running) != MaxRunning || nodes[0].RunningTotal != 500 {
			s.t.Errorf("nodes %v, %v", nodes, err)
		}
		running, err := s.store.Running(s.ctx, "import")
		if err != nil || len(running) != 500 {
			s.t.Errorf("%d run, %v, want 500", len(running), err)
		}
	})
}
