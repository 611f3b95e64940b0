package view

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

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
	// indexed is up to how many ready jobs the broker is asked by its index of subjects, which costs
	// by their number, below 10 ms: see docs/decisions/0044-what-a-look-costs.md.
	indexed = 200_000
	// rare is how many messages there are for each job of a type that is too rare to be looked for
	// message by message.
	rare = 1000
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
	noWay     way = iota // it is not looked for: that would cost too much
	none                 // there is none
	asKnown              // what is known is good enough
	byTable              // the broker makes a list of all that there are: few
	byIndex              // it goes by its index of subjects
	byWalking            // it goes through the stream from a sequence on
)

// wayTo decides how the oldest ready job of a type is found, and from which sequence on. Whatever is
// walked through was not looked at before, or jobs of the type are frequent there.
func wayTo(t *Type, messages Count, lastSeq uint64, known oldestLook, now time.Time) (w way, from uint64) {
	ready, inHand := t.Ready.Value, t.InHand.Value
	switch {
	case !t.Ready.Known() || !t.InHand.Known():
		return noWay, 0
	case ready == 0:
		return none, lastSeq
	case known.Seq > t.Delivered && now.Sub(known.Saw) < lookAgain:
		return asKnown, 0
	case ready+inHand <= stream.MaxLastMatching/2: // some may have come since
		return byTable, t.Delivered + 1
	case known.Seq > t.Delivered:
		return byWalking, known.Seq
	case known.nothingTo > 0:
		return byWalking, max(known.nothingTo, t.Delivered) + 1
	case inHand == 0 && ready <= indexed:
		return byIndex, 1
	case messages.Known() && ready >= messages.Value/rare:
		return byWalking, t.Delivered + 1
	default:
		return noWay, 0
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
			w, from := wayTo(t, q.Messages, q.LastSeq, known, s.At)
			switch w {
			case none:
				t.Oldest = Oldest{How: Exact, Saw: t.Ready.At}
				v.oldest.set(q.Name, t.Name, oldestLook{Oldest: t.Oldest, nothingTo: from})
			case asKnown:
				t.Oldest = known.Oldest
			case byTable, byIndex, byWalking:
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
	m, err := v.firstOf(ctx, part, l)
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return Oldest{How: Exact}, nil
	case err != nil:
		return Oldest{}, err
	case m.Seq <= l.t.Delivered: // it was handed out meanwhile, or before
		return Oldest{}, errHandedOut
	}
	return Oldest{How: Exact, Seq: m.Seq, At: m.Time.UTC()}, nil
}

var errHandedOut = errors.New("the oldest job was handed out")

func (v *View) firstOf(ctx context.Context, part queue.Part, l look) (*stream.Message, error) {
	if l.way != byTable {
		return v.cfg.Client.NextAny(ctx, part.Stream, part.Subject, l.from)
	}
	found, err := v.cfg.Client.LastMatching(ctx, part.Stream, part.Subject, l.from, 1)
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrPermissionViolation):
		return v.cfg.Client.NextAny(ctx, part.Stream, part.Subject, l.from)
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, queue.ErrNotFound
	}
	return found[0], nil
}
