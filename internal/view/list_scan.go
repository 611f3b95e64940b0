package view

import (
	"context"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
)

const (
	scanAtOnce = 1000    // messages in a chunk
	firstChunk = 128     // and in the first one
	short      = 100_000 // a stream of so few messages may be read in any way
)

// A scanSource reads a stream between two sequences, the newest first unless oldest is set, and yields
// what read makes jobs of.
type scanSource struct {
	view      *View
	kind      string
	info      *jetstream.StreamInfo
	oldest    bool
	match     Count // see [source]
	low, high uint64
	read      func(*stream.Message) (Job, bool)

	seen uint64 // messages from the end of the stream on
	wide uint64 // how many sequences the next chunk looks at
}

func (s *scanSource) name() string { return s.kind + " " + s.info.Config.Name }
func (s *scanSource) order() Order { return orderOf(s.oldest) }
func (s *scanSource) extent() (messages, matching Count) {
	return messagesIn(s.info), s.match
}

func (s *scanSource) next(ctx context.Context, behind uint64) (chunk, error) {
	if s.oldest {
		return s.onward(ctx, behind)
	}
	return s.backward(ctx, behind)
}

func (s *scanSource) onward(ctx context.Context, behind uint64) (chunk, error) {
	from := max(s.low, behind+1)
	if from > s.high {
		return chunk{end: true}, nil
	}
	found, err := s.view.forward(ctx, s.part(), from, s.high, scanAtOnce)
	if err != nil {
		return chunk{}, err
	}
	c := s.chunk(found)
	c.end = len(found) < scanAtOnce
	return c, nil
}

// backward reads what is below a sequence; 0: from the end. Sequences may have wide gaps where jobs
// have been settled, so the less it finds the further it looks.
func (s *scanSource) backward(ctx context.Context, below uint64) (chunk, error) {
	high := s.high
	if below > 0 {
		high = min(high, below-1)
	}
	if below == 0 {
		s.seen = 0
	}
	for s.wide = max(s.wide, firstChunk); ; {
		if high < s.low {
			return chunk{end: true}, nil
		}
		low := s.low
		if high-low >= s.wide {
			low = high - s.wide + 1
		}
		found, whole, err := s.between(ctx, low, high)
		if err != nil {
			return chunk{}, err
		}
		if !whole { // there is more in it than was read, which would be left out
			s.wide = max(s.wide/2, 1)
			continue
		}
		if len(found) < scanAtOnce/4 {
			s.wide = min(4*s.wide, 1<<62)
		}
		if len(found) == 0 {
			high = low - 1
			continue
		}
		s.seen += uint64(len(found))
		slices.Reverse(found)
		c := s.chunk(found)
		c.behind, c.end = low, low == s.low
		return c, nil
	}
}

// between reads all messages between two sequences, both included; false if there are more than a
// chunk has.
func (s *scanSource) between(ctx context.Context, low, high uint64) (found []*stream.Message, whole bool, err error) {
	if s.fromHereToTheEnd(low) {
		page, more, err := s.view.cfg.Client.Page(ctx, s.info.Config.Name, low, int(min(high-low+1, scanAtOnce))) //nolint:gosec // at most scanAtOnce
		if err == nil {
			cut := more && page[len(page)-1].Seq < high
			n, _ := slices.BinarySearchFunc(page, high+1, compareSeq)
			return page[:n], !cut, nil
		}
		if !cannotRead(err) {
			return nil, false, orNone(err)
		}
	}
	found, err = s.view.forward(ctx, s.part(), low, high, scanAtOnce+1)
	return found, len(found) <= scanAtOnce, err
}

func compareSeq(m *stream.Message, seq uint64) int {
	switch {
	case m.Seq < seq:
		return -1
	case m.Seq > seq:
		return 1
	}
	return 0
}

// fromHereToTheEnd reports whether a request for many from this sequence on costs by those only: see
// [stream.Client.Page]. Of a queue's stream it is not known how many messages are behind a sequence,
// since the pin at its head is as old as the queue; those are that were read.
func (s *scanSource) fromHereToTheEnd(seq uint64) bool {
	state := &s.info.State
	span := state.LastSeq - state.FirstSeq + 1
	const newer = 3 // fifths
	switch {
	case state.Msgs <= short, span == state.Msgs:
		return true
	case s.kind == "ready" || s.kind == "later":
		return s.seen > 0 && s.seen < state.Msgs*2/5
	default:
		return seq >= state.FirstSeq+span/5*newer
	}
}

func (s *scanSource) part() queue.Part { return s.view.cfg.Store.AllOf(s.info.Config.Name) }

// chunk makes a chunk of messages in the order of the source.
func (s *scanSource) chunk(found []*stream.Message) chunk {
	c := chunk{looked: len(found)}
	for _, m := range found {
		c.behind, c.at = m.Seq, m.Time.UTC()
		if j, ok := s.read(m); ok {
			c.rows = append(c.rows, row{j, m.Seq})
		}
	}
	return c
}
