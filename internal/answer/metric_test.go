package answer_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/answer"
)

// Each number that a history has can be asked for by its own name, and is the same.
func TestMetricsAreThoseOfTheHistory(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 14, 2, 0, 0, time.UTC)
	half := 0.5
	counts := &answer.StatsCounts{Started: 1, Succeeded: 2, Retrying: 3, Dead: 4, Cancelled: 5, Snoozed: 6, HandedBack: 7, Lost: 8, Busy: 9, WaitP50: &half, WaitP95: &half, WaitP99: &half, RunP50: &half, RunP95: &half, RunP99: &half}
	empty := &answer.StatsCounts{}
	s := &answer.Stats{From: at, Until: at.Add(time.Minute), Step: 10, By: "type", Lines: []*answer.StatsLine{
		{Type: "mail", Points: []*answer.StatsPoint{{At: at, StatsCounts: counts}, {At: at.Add(time.Minute), StatsCounts: empty}}},
	}, Backlog: []*answer.StatsBacklog{{At: at, Ready: 1, InHand: 2, Oldest: 3, Workers: 4, Slots: 5, Used: 6}}}
	fields := func(v any) (all map[string]any) {
		b, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(b, &all)
		}
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	names := answer.Metrics()
	for name, want := range fields(counts) {
		m, ok := s.Metric(name)
		if !ok || len(m.Lines) != 1 || m.Lines[0].Type != "mail" || len(m.Lines[0].Points) == 0 || m.Lines[0].Points[0].Value != want || !slices.Contains(names, name) {
			t.Errorf("%s: %+v, want %v", name, m, want)
		}
	}
	if m, _ := s.Metric("run_p50_s"); len(m.Lines[0].Points) != 1 {
		t.Errorf("what was not measured has a number: %+v", m.Lines[0].Points)
	}
	for name, want := range fields(s.Backlog[0]) {
		if name == "at" || name == "dead" { // which is what died, and not those that are dead
			continue
		}
		if m, ok := s.Metric(name); !ok || m.By != "time" || m.Lines[0].Points[0].Value != want || !slices.Contains(names, name) {
			t.Errorf("%s: %+v, want %v", name, m, want)
		}
	}
	if m, ok := s.Metric("nothing"); ok {
		t.Errorf("%+v", m)
	}
}
