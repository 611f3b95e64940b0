package registry

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/supervisor"
)

const (
	idlePoll = time.Second            // at the clock, while nothing is limited here
	silence  = 300 * time.Millisecond // before a broker that does not answer is asked again
)

// state is what the agent's server owns.
type state struct {
	*Agent
	self   *supervisor.Self[message]
	log    *slog.Logger
	cancel func() bool // takes back the next tick

	limits     map[slots.Key]knownLimit // all there are
	keys       map[string]string        // by type
	holders    map[slots.Key]*holder    // of the limits that concern this node
	order      []*holder                // of them, who is first in the next round
	left       []*holder                // whose limit is gone: their grants are to be removed
	config     map[setting][]byte       // what the node's configuration says
	offered    map[setting][]byte       // of that, what was handed back and is to be written
	takeBackAt time.Time                // not before; zero: at once

	heeds     *Order        // nil: none
	known     bool          // all settings were read once
	presentAt time.Time     // when presence is to be written again
	absent    time.Duration // pause after a presence that could not be written
	silent    time.Time     // the broker is not asked before
	acted     chan struct{} // closed once what is due at the start was tried
}

// Handle implements supervisor.Handler.
func (s *state) Handle(ctx context.Context, msg message) error {
	switch m := msg.(type) {
	case tick:
		s.tick(ctx)
	case changed:
		s.apply(ctx, m.Entry)
	case hinted:
		if h := s.holders[m.key]; h != nil {
			h.hinted(m.hint.Node, m.hint.Grant)
		}
	case synced:
		// The callers' patience has an end, so nothing is asked of the broker here. The limiters
		// of all limits are known and shut when they go on.
		s.known = true
		s.reconcile(ctx)
		s.soon()
		m.reply.Send(s.acted)
	}
	return nil
}

// tick does what is due.
func (s *state) tick(ctx context.Context) {
	now := time.Now()
	for _, h := range s.order {
		h.expire(now)
	}
	if s.known && !now.Before(s.silent) {
		s.round(ctx, now)
		select {
		case <-s.acted:
		default:
			close(s.acted)
		}
	}
	s.next()
}

// soon has a tick at once.
func (s *state) soon() {
	s.cancel()
	s.cancel = s.self.After(0, tick{})
}

// next arms the next tick, a little apart from those of other nodes.
func (s *state) next() {
	s.cancel()
	pause := idlePoll
	if s.cfg.Snapshot != nil {
		pause = min(pause, max(time.Until(s.presentAt), pollEvery))
	}
	if len(s.holders) > 0 {
		pause = pollEvery
	}
	s.cancel = s.self.After(pause*9/10+rand.N(pause/5), tick{})
}

// Terminate implements supervisor.Terminator. Once everything below has ended, permits and
// presence are given back; after a crash they stay, for the next life.
func (s *state) Terminate(reason error) {
	if !errors.Is(reason, supervisor.ErrShutdown) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	each(append(s.order, s.left...), func(h *holder) { h.giveBack(ctx) })
	if s.cfg.Snapshot == nil {
		return
	}
	_, err := s.store.bucket.Put(ctx, stream.Write{Key: nodeKey(s.cfg.Node), Remove: true, TTL: stream.MarkerTTL})
	if err != nil {
		s.log.DebugContext(ctx, "presence expires by itself: it could not be removed", slog.Any("err", err))
	}
}
