package queue

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/millhand/millhand/internal/stream"
)

// A store that is full of jobs has no room for their ends, and only an end removes a job. So
// workers keep a reserve in it, messages of no meaning in the registry's bucket, and remove
// one after the other when the broker has no room. Once that is used up, they shorten the
// history from its beginning. The first worker that is refused does it; it does no harm if two do.
const (
	reserveFirst = 16 << 10         // bytes; each further part is twice as large, up to
	reserveMost  = 512 << 10        //
	reserveParts = 12               // 4 MiB in all
	reservePause = time.Minute      // without a refusal before the reserve is filled up again, a part at a time
	reserveLook  = 30 * time.Minute // before it is looked at again when it was found complete

	historyShare = 4                // what is removed of the history at once: one in this many parts
	historyKeep  = 30 * time.Second // beyond a lease: a younger event may be all that keeps two holders of a job apart
)

// reserve is this worker's view of it. It belongs to one goroutine.
type reserve struct {
	store *Store
	laid  bool // all of it, by this worker or those before it
}

// fill adds to the reserve what is missing, all of it if this is a start, and else a part. It
// returns when it is to be called again.
func (r *reserve) fill(ctx context.Context) time.Duration {
	if r.store.cfg.Registry == nil {
		return reserveLook
	}
	first := !r.laid
	for part := range reserveParts {
		seq, err := r.lay(ctx, part)
		switch {
		case noRoom(err): // so small a store that the reserve is a good part of it
			r.openPart(ctx)
			r.openPart(ctx)
			r.laid = true
			return reserveLook
		case err != nil:
			return reservePause
		case seq > 0 && !first:
			return reservePause
		}
	}
	r.laid = true
	return reserveLook
}

// lay stores a part unless it is there, of which 0 tells.
func (r *reserve) lay(ctx context.Context, part int) (seq uint64, err error) {
	size := min(reserveFirst<<part, reserveMost, max(int(r.store.nc.MaxPayload())/2, 1))
	key := reserveKey(part)
	seq, err = r.store.cfg.Registry.Put(ctx, stream.Write{Key: key, Value: make([]byte, size), On: key})
	if errors.Is(err, stream.ErrConflict) {
		return 0, nil
	}
	return seq, err
}

func reserveKey(part int) string { return "reserve." + strconv.Itoa(part) }

// open makes room: a part of the reserve, or of the history. It reports whether there was any.
func (r *reserve) open(ctx context.Context) bool { return r.openPart(ctx) || r.forget(ctx) }

// openPart makes room of the largest part of the reserve that there is, if any.
func (r *reserve) openPart(ctx context.Context) bool {
	if r.store.cfg.Registry == nil {
		return false
	}
	for part := reserveParts - 1; part >= 0; part-- {
		n, err := r.store.cfg.Registry.Purge(ctx, reserveKey(part))
		if err != nil {
			return false
		}
		if n > 0 {
			r.store.log.InfoContext(ctx, "the broker's store is full: opened a part of the reserve, so that jobs can end", slog.Int("part", part))
			return true
		}
	}
	return false
}

// forget removes the oldest part of the history.
func (r *reserve) forget(ctx context.Context) bool {
	s := r.store
	info, err := s.client.Info(ctx, s.names.eventStream())
	if err != nil {
		return false
	}
	state := info.State
	from := state.FirstSeq + (state.LastSeq-min(state.FirstSeq, state.LastSeq))/historyShare + 1
	m, err := s.client.Next(ctx, s.names.eventStream(), ">", from)
	keep := historyKeep + max(s.cfg.AckWait, DefaultAckWait, s.longestLease())
	if err != nil || time.Since(m.Time) < keep {
		return false
	}
	n, err := s.client.Purge(ctx, s.names.eventStream(), stream.Purge{Below: m.Seq})
	if err != nil || n == 0 {
		return false
	}
	s.log.WarnContext(ctx, "the broker's store is full: removed the oldest events, so that jobs can end; give it more room, or keep history for a shorter time",
		slog.Uint64("count", n), slog.Time("until", m.Time))
	return true
}
