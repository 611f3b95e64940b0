package queue

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A ForeignDead is a message of somebody else's stream that has failed for good.
type ForeignDead struct {
	Stream, Subject string
	Seq             uint64
	Time            time.Time // when it was stored
	Payload         []byte
	Meta            map[string]string
	Reason          string
	Error           string
	Attempt         int
}

// headerOrigin is where a dead job was a message before, as "<stream>/<sequence>/<subject>".
const headerOrigin = "Millhand-Origin"

// life is the message's, also where a stream has been made again and counts anew.
func (d *ForeignDead) life() string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s %d", d.Stream, d.Time.UnixNano())
	return lifeOf(d.Seq) + "-" + strconv.FormatUint(h.Sum64(), 36)
}

// record makes a job of it, whose type is the stream and whose id is the message's.
func (d *ForeignDead) record(queue string) *job.Record {
	name := TypeOfStream(d.Stream)
	meta := maps.Clone(d.Meta)
	if job.CheckMeta(meta) != nil {
		meta = nil // a dead job without it is better than none
	}
	return &job.Record{
		Queue: queue, Type: name, ID: fmt.Sprintf("%s--%d", name, d.Seq), Life: d.life(),
		Attempt: max(d.Attempt, 1), EnqueuedAt: d.Time, Meta: meta, Payload: d.Payload,
	}
}

// TypeOfStream returns the type of dead jobs that were messages of a stream.
func TypeOfStream(stream string) string {
	name := strings.Map(func(c rune) rune {
		if job.CheckType(string(c)) != nil {
			return '-'
		}
		return c
	}, stream)
	return name[:min(len(name), maxTypeOfStream)]
}

const maxTypeOfStream = 64 // bytes

// BuryForeign stores a message of another stream as a dead job of a queue, which can be requeued like any
// other. To do it twice is to do it once. Another message with the same id has its life behind that.
func (s *Store) BuryForeign(ctx context.Context, queue string, d *ForeignDead) error {
	r := d.record(queue)
	err := s.buryAs(ctx, r, d)
	if errors.Is(err, errOtherMessage) {
		r.ID += strings.TrimPrefix(r.Life, lifeOf(d.Seq))
		err = s.buryAs(ctx, r, d)
	}
	return err
}

var errOtherMessage = errors.New("the id is another message's")

func (s *Store) buryAs(ctx context.Context, r *job.Record, d *ForeignDead) error {
	p, err := r.Place()
	if err != nil {
		return err
	}
	if err := s.client.CheckConnected(); err != nil {
		return err
	}
	s.useQueue(p.Queue)
	t := &settlement{store: s, Delivery: &Delivery{Record: *r, place: p, store: s}}
	t.Outcome = Outcome{Kind: job.EventDead, Reason: d.Reason, Error: d.Error}
	alive := s.patience()
	e := t.event(time.Now())
	m, err := s.eventMsg(p, &e)
	if err != nil {
		return err
	}
	stream.Expect(m, 0, m.Subject)
	t.lastEvent, err = s.confirm(ctx, m, alive)
	if errors.Is(err, stream.ErrConflict) {
		last, err := stream.RetryRead(ctx, alive, func(ctx context.Context) (*Event, error) { return s.LastEvent(ctx, p) })
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err == nil && last.Life != r.Life {
			return s.isBuried(ctx, p, r.Life, alive)
		}
		if err == nil {
			t.lastEvent = last.Sequence
		}
	} else if err != nil {
		return wrap(err, "event of a dead message")
	}
	return s.buryForeign(ctx, t, fmt.Sprintf("%s/%d/%s", d.Stream, d.Seq, headerText(d.Subject)), alive)
}

// isBuried returns nil if a message was dead before, and was requeued since.
func (s *Store) isBuried(ctx context.Context, p job.Place, life string, alive func() error) error {
	history, err := stream.RetryRead(ctx, alive, func(ctx context.Context) ([]Event, error) { return s.History(ctx, p, life) })
	if err != nil {
		return err
	}
	if slices.ContainsFunc(history, func(e Event) bool { return e.Life == life }) {
		return nil
	}
	return errOtherMessage
}

// buryForeign writes the record, as large as the broker takes it.
func (s *Store) buryForeign(ctx context.Context, t *settlement, origin string, alive func() error) error {
	failures := []Failure{{Attempt: t.Attempt, Time: time.Now().UTC(), Node: s.cfg.Node, Event: string(job.EventDead), Error: head(t.Error, maxErrorText)}}
	var err error
	for _, m := range t.deadMsgs(failures) {
		if m.Header == nil {
			continue // that would not be told from another record
		}
		m.Header[headerOrigin] = []string{origin}
		stream.Expect(m, 0, m.Subject)
		if _, err = s.confirm(ctx, m, alive); !final(err) {
			break
		}
	}
	if errors.Is(err, stream.ErrConflict) {
		return nil
	}
	return wrap(err, "dead record of a message")
}
