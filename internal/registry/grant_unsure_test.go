package registry

import (
	"log/slog"
	"testing"
	"time"
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

// A shrink was stored and its answer is late. Until the pool was read again, the node does not
// use what it gave up, whatever it hears.
func TestShrinkThatWasNotAnsweredIsNotTakenBack(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 10, 0)
		v := &fixedLimiter{used: 3, want: 20}
		link := s.server.Link()
		store := s.open(link.Connect(s.t))
		p := &pool{
			key: imports, node: "x", ttl: DefaultTTL, store: store, log: slog.New(slog.DiscardHandler), limiter: v,
			limit: Limit{Jobs: 10}, sent: time.Now(),
		}
		if err := p.refresh(s.ctx); err != nil || v.permits != 10 {
			s.t.Fatalf("%v, %d permits, want 10", err, v.permits)
		}
		time.Sleep(100 * time.Millisecond)
		p.hinted(hintValue{Node: "y", Grant: Grant{Want: 5}})
		link.Slow(5 * time.Second)
		if err := p.act(s.ctx, time.Now()); err == nil {
			s.t.Fatal("the shrink was answered in time")
		}
		p.hinted(hintValue{Node: "y"})
		held := s.held(imports)["x"].Held
		_ = p.act(s.ctx, time.Now()) // the read is late as well
		if held != 5 || v.permits > held {
			s.t.Errorf("%d permits may be used, the key says %d", v.permits, held)
		}
	})
}
