package view

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
)

// An Oldest says which job of a type is ready for longest.
type Oldest struct {
	How How       `json:"how"`             // exact or unknown
	Seq uint64    `json:"seq,omitempty"`   // of its message; 0: none is ready
	At  time.Time `json:"at,omitzero"`     // when it became ready, by the broker's clock
	Saw time.Time `json:"saw_at,omitzero"` // when it was looked for
}

// Bounds of what is looked through to find the oldest ready job of a type.
const (
	// peeked is how many messages behind the last one that was handed out are looked at one by one.
	peeked = 256
	// lookAgain is how long the oldest job of a type is believed to be still there while none is
	// handed out.
	lookAgain = 10 * time.Second
	// maxLooks is how many types are looked at in one snapshot.
	maxLooks = 20
)

// oldestKnown is what was found out before about the oldest ready jobs, by queue and type.
type oldestKnown struct {
	mu sync.Mutex
	of map[[2]string]oldestLook
}

type oldestLook struct {
	Oldest
	nothingTo uint64 // up to this sequence there was none
}

func (k *oldestKnown) get(queueName, typ string) oldestLook {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.of[[2]string{queueName, typ}]
}

func (k *oldestKnown) set(queueName, typ string, l oldestLook) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = make(map[[2]string]oldestLook)
	}
	k.of[[2]string{queueName, typ}] = l
}

// A way to find the oldest ready job of a type.
type way int

const (
	noWay     way = iota // the counts are not known
	none                 // there is none
	asKnown              // what is known is good enough
	byTable              // the broker makes a table of all that there are: few
	byIndex              // it goes by its index of subjects, which costs by what is ready
	byWalking            // it goes through the stream from where it is, or where nothing was
	byPeeking            // a few messages are looked at, which a type with a good part of the queue is among
)

// wayTo decides how the oldest ready job of a type is found, and from which sequence on. None of the
// ways has the broker go through what it does not know to be short: see
// docs/decisions/0044-what-a-look-costs.md.
func wayTo(t *Type, lastSeq uint64, known oldestLook, now time.Time) (w way, from uint64) {
	ready, inHand := t.Ready.Value, t.InHand.Value
	switch {
	case !t.Ready.Known() || !t.InHand.Known():
		return noWay, 0
	case ready == 0:
		return none, lastSeq
	case known.Seq > t.Delivered && now.Sub(known.Saw) < lookAgain:
		return asKnown, known.Seq
	case ready+inHand <= stream.MaxLastMatching/2: // some may have come since
		return byTable, t.Delivered + 1
	case known.Seq > t.Delivered:
		return byWalking, known.Seq
	case known.nothingTo > 0:
		return byWalking, max(known.nothingTo, t.Delivered) + 1
	case ready <= countable:
		return byIndex, 1
	default:
		return byPeeking, t.Delivered + 1
	}
}

// findOldest fills in the oldest ready job of each type, of a few of them anew: those first that were
// not looked at for longest.
func (v *View) findOldest(ctx context.Context, s *Snapshot) {
	var looks []look
	for i := range s.Queues {
		q := &s.Queues[i]
		for j := range q.Types {
			t := &q.Types[j]
			known := v.oldest.get(q.Name, t.Name)
			t.Oldest = Oldest{How: Unknown}
			w, from := wayTo(t, q.LastSeq, known, s.At)
			switch w {
			case none:
				t.Oldest = Oldest{How: Exact, Saw: t.Ready.At}
				v.oldest.set(q.Name, t.Name, oldestLook{Oldest: t.Oldest, nothingTo: from})
			case asKnown:
				t.Oldest = known.Oldest
			case byTable, byIndex, byWalking, byPeeking:
				looks = append(looks, look{t, w, from, known.Saw})
			case noWay:
			}
		}
	}
	v.lookAll(ctx, s, looks)
}

// A look is a request for the oldest ready job of a type.
type look struct {
	t    *Type
	way  way
	from uint64
	last time.Time // when it was looked for before
}

func (v *View) lookAll(ctx context.Context, s *Snapshot, looks []look) {
	sortByTime(looks, func(l look) time.Time { return l.last })
	looks = looks[:min(len(looks), maxLooks)]
	var wg sync.WaitGroup
	for _, l := range looks {
		wg.Go(func() {
			o, err := v.lookFor(ctx, l)
			if err != nil {
				return // it stays unknown
			}
			o.Saw = s.At
			l.t.Oldest = o
			v.oldest.set(l.t.Queue, l.t.Name, oldestLook{Oldest: o})
		})
	}
	wg.Wait()
}

// lookFor asks for the oldest ready job of a type.
func (v *View) lookFor(ctx context.Context, l look) (Oldest, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	name, err := job.QueueName(l.t.Queue)
	if err != nil {
		return Oldest{}, err
	}
	part := v.cfg.Store.ReadyOf(name, l.t.Name)
	m, err := v.firstOf(ctx, part, l.t, l.way, l.from)
	switch {
	case errors.Is(err, queue.ErrNotFound) && l.way != byPeeking:
		return Oldest{How: Exact}, nil
	case err != nil:
		return Oldest{}, err
	}
	return Oldest{How: Exact, Seq: m.Seq, At: m.Time.UTC()}, nil
}

// firstOf finds the first job of a type that was not handed out, or [queue.ErrNotFound].
func (v *View) firstOf(ctx context.Context, part queue.Part, t *Type, w way, from uint64) (*stream.Message, error) {
	switch w {
	case byTable:
		found, err := v.cfg.Client.LastMatching(ctx, part.Stream, part.Subject, from, 1)
		if cannotRead(err) {
			return v.cfg.Client.NextAny(ctx, part.Stream, part.Subject, from)
		}
		if err == nil && len(found) == 0 {
			err = queue.ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		return found[0], nil
	case byPeeking:
		return v.peek(ctx, part, from)
	case byIndex:
		m, err := v.cfg.Client.NextAny(ctx, part.Stream, part.Subject, from)
		if err == nil && m.Seq <= t.Delivered { // it is in hand
			return v.peek(ctx, part, t.Delivered+1)
		}
		return m, err
	case noWay, none, asKnown, byWalking:
	}
	return v.cfg.Client.NextAny(ctx, part.Stream, part.Subject, from)
}

// peek looks at a few messages from a sequence on for one of a part, or returns [queue.ErrNotFound].
func (v *View) peek(ctx context.Context, part queue.Part, from uint64) (*stream.Message, error) {
	next, err := v.forward(ctx, v.cfg.Store.AllOf(part.Stream), from, 0, peeked)
	if err != nil {
		return nil, err
	}
	for _, m := range next {
		if part.Covers(m.Subject) {
			return m, nil
		}
	}
	return nil, queue.ErrNotFound
}
