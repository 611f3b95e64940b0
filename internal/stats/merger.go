package stats

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/millhand/millhand/internal/stream"
)

// When sums are written.
const (
	mergeAfter = 12 * time.Second // a minute's end: the records of that minute are there
	mergeApart = 4 * time.Second  // between those who try
	mergers    = 3                // who try
)

// A Merger writes the sums of what all workers counted, as one of several who do.
type Merger struct {
	Counting
	store  *Store
	nodes  func(context.Context) ([]string, error)
	sample Sampler
	log    *slog.Logger
	told   bool // that it is refused
}

// NewMerger returns the merger of a worker. Nodes returns the ids of the workers there are, sample
// what waits at the moment.
func NewMerger(s *Store, c Counting, nodes func(context.Context) ([]string, error), sample Sampler) *Merger {
	return &Merger{Counting: c, store: s, nodes: nodes, sample: sample, log: s.log}
}

// Run writes sums until ctx ends.
func (m *Merger) Run(ctx context.Context) error {
	for {
		minute := m.now().Add(-mergeAfter).Truncate(time.Minute).Add(time.Minute) // that ends next
		if stream.Sleep(ctx, minute.Add(mergeAfter).Sub(m.now())) != nil {
			return nil //nolint:nilerr // it is stopped
		}
		rank := m.rank(ctx, minute)
		if rank >= mergers {
			continue
		}
		if stream.Sleep(ctx, time.Duration(rank)*mergeApart) != nil {
			return nil //nolint:nilerr // it is stopped
		}
		m.merge(ctx)
	}
}

// merge writes the sums that are due. One that it cannot write is left to the others, and to the next
// minute: nothing is lost with it.
func (m *Merger) merge(ctx context.Context) {
	err := m.store.Merge(ctx, m.now(), m.sample)
	switch {
	case err == nil:
		m.told = false
	case ctx.Err() != nil, stream.Code(err) == stream.CodeStreamNotFound: // the recorder says why it cannot be made
	case stream.IsRefusal(err) && !m.told:
		m.told = true
		m.log.WarnContext(ctx, "statistics are not summed up by this worker: the broker refuses it", slog.Any("err", err))
	default:
		m.log.DebugContext(ctx, "statistics are not summed up at the moment", slog.Any("err", err))
	}
}

// rank returns which one of the workers this one is to sum up a minute, from 0. Not knowing of the
// others it is one of the first.
func (m *Merger) rank(ctx context.Context, minute time.Time) int {
	nodes, err := m.nodes(ctx)
	if err != nil || !slices.Contains(nodes, m.Node) {
		m.log.DebugContext(ctx, "the workers there are cannot be told", slog.Any("err", err))
		return int(lot(m.Node, minute)[0]) % mergers
	}
	mine := lot(m.Node, minute)
	rank := 0
	for _, n := range nodes {
		if l := lot(n, minute); bytes.Compare(l[:], mine[:]) < 0 {
			rank++
		}
	}
	return rank
}

// lot is what a worker draws for a minute: the lowest goes first.
func lot(node string, minute time.Time) [sha256.Size]byte {
	return sha256.Sum256([]byte(node + " " + strconv.FormatInt(minute.Unix(), 10)))
}
