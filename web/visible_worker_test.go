package web

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/tally"
)

// What a worker says by queue is seen of the queues that are seen.
func TestVisibleWorker(t *testing.T) {
	t.Parallel()
	h := &Handler{opts: Options{Visible: func(_ User, queue, _ string) bool { return queue == "mail" }}}
	all := &registry.Node{
		Queues: []string{"default", "mail"}, Types: []string{"a", "b"},
		ByType:         map[string]registry.Load{"default/a": {Run: 1}, "mail/b": {Run: 2}},
		StrictWeights:  map[string]int{"default": 1, "mail": 2},
		QueueSlotsFree: map[string]int{"default": 1},
		Objectives:     map[string]float64{"default": 1, "mail": 2},
	}
	got, ok := h.visibleWorker(all, User{Role: "viewer"}, map[tally.Pair]bool{{Queue: "mail", Type: "b"}: true})
	want := registry.Node{
		Queues: []string{"mail"}, Types: []string{"b"}, ByType: map[string]registry.Load{"mail/b": {Run: 2}},
		StrictWeights: map[string]int{"mail": 2}, QueueSlotsFree: map[string]int{}, Objectives: map[string]float64{"mail": 2},
	}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("seen %t (-want +got)\n%s", ok, diff)
	}
}
