package queue

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millhand/millhand/internal/job"
)

// A history has a bound in bytes however large the results of an id's lives were, and each
// result can still be had.
func TestHistoryIsBounded(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const lives, size = 12, 900_000
		n := s.node("n")
		var names []string
		for i := range lives {
			names = append(names, s.enqueue("again").Life)
			result := fmt.Sprintf("%02d", i) + strings.Repeat("x", size)
			if err := n.settle(n.pull(), Outcome{Kind: job.EventSucceeded, Result: []byte(result)}); err != nil {
				t.Fatal(err)
			}
			n.sleep(1e9)
		}
		place, err := job.PlaceOf(testQueue, testType, "again")
		if err != nil {
			t.Fatal(err)
		}
		history, err := s.store.History(s.ctx, place, names[0])
		if err != nil || len(history) != lives {
			t.Fatalf("%d events, %v; want %d", len(history), err, lives)
		}
		bytes := 0
		for _, e := range history {
			bytes += e.resultBytes()
		}
		if len(history[0].Result) < size || bytes > maxHistory+size || bytes < maxHistory-2*size {
			t.Errorf("the history has %d bytes of results, want somewhat less than %d", bytes, maxHistory)
		}
		for i, life := range names {
			e, err := s.store.AwaitFinal(s.ctx, place, life)
			if err != nil || len(e.Result) < size || string(e.Result[1:3]) != fmt.Sprintf("%02d", i) {
				t.Errorf("life %d: %v, %d bytes", i, err, len(e.Result))
			}
		}
	})
}
