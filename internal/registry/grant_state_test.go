package registry

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/natstest"
)

// enoughForEachState is how many histories come to each state for certain; with fewer it is chance.
const enoughForEachState = 50

// Whatever a holder is told and whatever becomes of its requests, its fields agree with its state,
// and what the limiter may use is covered by what the bucket has.
func TestHolderKeepsItsInvariants(t *testing.T) {
	histories := 0
	seen := make(map[grantState]int)
	natstest.Check(t, func(t *rapid.T, server *natstest.Server) {
		histories++
		s := newScene(t, server)
		limit := Limit{Jobs: rapid.IntRange(1, 8).Draw(t, "limit")}
		s.limit(imports, limit.Jobs, 0)
		var all []*heldScene
		for _, node := range []string{"x", "y"} {
			h := &heldScene{scene: s, link: server.Link(), limiter: &fixedLimiter{want: 8}}
			h.holder = s.holder(node, s.open(h.link.Connect(t)), h.limiter, limit)
			h.link.Watch(h.fate)
			all = append(all, h)
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			h := all[rapid.IntRange(0, 1).Draw(t, "whose")]
			h.step(t, all)
			for _, h := range all {
				h.check(t)
				seen[h.state]++
			}
		}
	})
	t.Logf("checked in each state: %v", seen)
	if histories < enoughForEachState {
		return
	}
	for _, state := range []grantState{grantNone, grantHeld, grantUnsure, grantLost} {
		if seen[state] == 0 {
			t.Errorf("state %d never came up: %v", state, seen)
		}
	}
}

// heldScene is a holder with all that it meets.
type heldScene struct {
	*holder
	scene   *scene
	link    *natstest.Link
	limiter *fixedLimiter
	next    atomic.Int32 // what becomes of the next write
}

// fate is that of a message.
func (h *heldScene) fate(subject string) natstest.Fate {
	if !strings.HasPrefix(subject, "$KV.") {
		return natstest.Pass
	}
	return natstest.Fate(h.next.Swap(int32(natstest.Pass)))
}

func (h *heldScene) step(t *rapid.T, all []*heldScene) {
	switch rapid.SampledFrom([]string{"act", "act", "act", "act", "use", "want", "be deaf", "hear", "limit", "sleep", "sleep long"}).Draw(t, "step") {
	case "act":
		h.next.Store(int32(rapid.SampledFrom([]natstest.Fate{natstest.Pass, natstest.Pass, natstest.Lost, natstest.CutAfter}).Draw(t, "write")))
		h.expire(time.Now())
		h.answered(h.act(h.scene.ctx, time.Now())) // be it an error: what it leaves is checked
		h.next.Store(int32(natstest.Pass))
	case "use":
		h.limiter.used = rapid.IntRange(0, h.limiter.permits).Draw(t, "used")
	case "want":
		h.limiter.want = rapid.IntRange(0, 10).Draw(t, "want")
	case "be deaf": // for one round
		h.link.Slow(2 * requestWithin)
		h.answered(h.act(h.scene.ctx, time.Now()))
		h.link.Slow(0)
	case "hear":
		for _, o := range all {
			if o != h {
				h.hinted(o.node, o.own)
			}
		}
	case "limit":
		h.scene.limit(imports, rapid.IntRange(1, 8).Draw(t, "jobs"), 0)
		e, err := h.scene.store.bucket.Get(h.scene.ctx, limitKey(imports))
		must(h.scene, err)
		l, _ := decodeLimit(e.Value)
		for _, h := range all {
			h.changeLimit(time.Now(), knownLimit{Limit: l, rev: e.Rev})
		}
	case "sleep":
		time.Sleep(time.Duration(rapid.IntRange(100, 4000).Draw(t, "ms")) * time.Millisecond)
	case "sleep long":
		time.Sleep(time.Duration(rapid.IntRange(4, 12).Draw(t, "s")) * time.Second)
	}
}

// requestWithin is how long a request to the bucket waits for its answer.
const requestWithin = time.Second

func (h *heldScene) check(t *rapid.T) {
	t.Helper()
	h.expire(time.Now())
	has := h.scene.held(imports)[h.node]
	switch {
	case h.permits < 0 || h.permits > h.own.Held:
		t.Fatalf("%d of %d permits may be used", h.permits, h.own.Held)
	case (h.state == grantNone || h.state == grantLost) && h.own.Held > 0:
		t.Fatalf("%d permits are held in state %d", h.own.Held, h.state)
	case h.state == grantHeld && h.rev == 0:
		t.Fatal("a grant is held that was never confirmed")
	case h.limiter.permits != h.permits:
		t.Fatalf("the limiter may use %d permits, its holder says %d", h.limiter.permits, h.permits)
	case h.limiter.permits > has.Held:
		t.Fatalf("%d permits may be used in state %d, the key has %d", h.limiter.permits, h.state, has.Held)
	case h.state == grantHeld && has != h.own:
		t.Fatalf("the key has %+v, its holder says %+v", has, h.own)
	}
}
