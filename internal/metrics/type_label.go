package metrics

import (
	"sync"

	"github.com/millhand/millhand/internal/tally"
)

// maxTypes is how many types have a value of their own: the first ones that are seen.
const maxTypes = 200

// types are those that have one. A type that has it keeps it.
type types struct {
	mu    sync.Mutex
	known map[string]bool
}

// shown returns the value of a type's label.
func (t *types) shown(typ string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known[typ] {
		return typ
	}
	if len(t.known) >= maxTypes {
		return tally.OtherType
	}
	if t.known == nil {
		t.known = make(map[string]bool)
	}
	t.known[typ] = true
	return typ
}

// byPair returns counts by queue and by the values of their types' labels, and byType those by these
// values alone.
func (t *types) byPair(all tally.Sums) (byPair tally.Sums, byType map[string]*tally.Counts) {
	byPair, byType = make(tally.Sums), make(map[string]*tally.Counts)
	for _, p := range sorted(all) { // so that it does not hang on chance which are the first ones
		if all[p].IsZero() {
			continue // most pairs of a worker with many queues and types
		}
		shown := tally.Pair{Queue: p.Queue, Type: t.shown(p.Type)}
		byPair.Add(shown, all[p])
		if byType[shown.Type] == nil {
			byType[shown.Type] = new(tally.Counts)
		}
		byType[shown.Type].Add(all[p])
	}
	return byPair, byType
}
