package main

import (
	"testing"
	"time"

	"github.com/millhand/millhand/internal/view"
)

// A pipeline is one line, which says so if nobody serves it.
func TestPipelineLines(t *testing.T) {
	s := &session{app: &app{}, now: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}
	for want, p := range map[string]view.Pipeline{
		"pipeline push of jobs: 2 in hand, 1 process, 1 busy": {Name: "push", InHand: 2, Processes: []view.PipelineProcess{{Worker: "w", State: "busy"}}},
		"pipeline crm of stream CHANGES (g): 1,204 wait, the oldest for 7s, 0 in hand, 1 process, no owner of 1 of 2 partitions": {
			Name: "crm", Stream: "CHANGES", Consumer: "g", Lag: new(int64(1204)), LagAge: new(7.2),
			Partitions: []view.OwnedPartition{{Worker: "w"}, {Partition: 1}}, Processes: []view.PipelineProcess{{Worker: "w", State: "asking"}},
		},
		"pipeline crm of stream CHANGES (g): no process serves it, ≈ 1,204 wait, last active 12m ago": {
			Name: "crm", Stream: "CHANGES", Consumer: "g", Lag: new(int64(1204)), LagAbout: true, LastActive: s.now.Add(-12 * time.Minute),
			Partitions: []view.OwnedPartition{{}, {Partition: 1}},
		},
		"pipeline books of stream ORDERS (d): no process serves it, ? wait, last active 1h ago": {
			Name: "books", Stream: "ORDERS", Consumer: "d", LastActive: s.now.Add(-time.Hour),
		},
	} {
		if got := s.pipelineLine(&p); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
