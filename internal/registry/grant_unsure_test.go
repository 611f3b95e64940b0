package registry

import (
	"log/slog"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/slots"
)

// fixedLimiter uses and wants what the test says.
type fixedLimiter struct {
	used, want int
	permits    int
}

func (v *fixedLimiter) Allow(permits int, _ time.Time) { v.permits = permits }
func (v *fixedLimiter) Use() (used, need, want int)    { return v.used, v.used, v.want }
func (v *fixedLimiter) Lift()                          {}
func (v *fixedLimiter) Lose()                          { v.permits = 0 }

// holder is one of imports for a node that has no agent.
func (s *scene) holder(node string, store *Store, l slots.Limiter, limit Limit) *holder {
	h := &holder{key: imports, node: node, ttl: DefaultTTL, store: store, log: slog.New(slog.DiscardHandler), limiter: l, limit: knownLimit{Limit: limit}}
	h.becomeNone(time.Now())
	return h
}

// A shrink was stored and its answer is late. Until the grants were read again, the node does not
// use what it gave up, whatever it hears.
func TestShrinkThatWasNotAnsweredIsNotTakenBack(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 10, 0)
		v := &fixedLimiter{used: 3, want: 20}
		link := s.server.Link()
		store := s.open(link.Connect(s.t))
		h := s.holder("x", store, v, Limit{Jobs: 10})
		if err := h.refresh(s.ctx); err != nil || v.permits != 10 {
			s.t.Fatalf("%v, %d permits, want 10", err, v.permits)
		}
		time.Sleep(100 * time.Millisecond)
		h.hinted("y", Grant{Want: 5})
		link.Slow(5 * time.Second)
		if err := h.act(s.ctx, time.Now()); err == nil {
			s.t.Fatal("the shrink was answered in time")
		}
		h.hinted("y", Grant{})
		held := s.held(imports)["x"].Held
		_ = h.act(s.ctx, time.Now()) // the read is late as well
		h.hinted("y", Grant{Need: 3, Want: 3})
		h.changeLimit(time.Now(), knownLimit{Limit: Limit{Jobs: 10}, rev: h.limit.rev + 1})
		if held != 5 || v.permits > held {
			s.t.Errorf("%d permits may be used, the key says %d", v.permits, held)
		}
	})
}
