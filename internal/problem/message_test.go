package problem_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// A look a minute, while handlers are stuck or not, each of which knows what the last one noted: what is told, and when.
func TestMessages(t *testing.T) {
	type span struct{ begin, end int }
	type told struct {
		Minute int
		Event  problem.Event
		Over   int // the minute in which it was over
	}
	for _, tt := range []struct {
		name  string
		least problem.Level
		there []span
		blind []span // the registry does not answer
		deaf  []span // the one who sums up tells nobody
		want  []told
	}{
		{name: "nothing", least: problem.Notice},
		{name: "not bad enough", least: problem.Error, there: []span{{1, 20}}},
		{name: "begin and end", least: problem.Warning, there: []span{{1, 20}}, want: []told{{1, problem.Began, 0}, {20, problem.Ended, 20}}},
		{name: "not within ten minutes", least: problem.Warning, there: []span{{1, 3}}, want: []told{{1, problem.Began, 0}, {11, problem.Ended, 3}}},
		{name: "comes and goes", least: problem.Warning, there: []span{{1, 3}, {5, 6}, {8, 15}}, want: []told{{1, problem.Began, 0}, {15, problem.Ended, 15}}},
		{name: "comes again after its end", least: problem.Warning, there: []span{{1, 12}, {14, 30}}, want: []told{{1, problem.Began, 0}, {12, problem.Ended, 12}, {22, problem.Began, 0}, {32, problem.Ended, 30}}},
		{name: "long after its end", least: problem.Warning, there: []span{{1, 12}, {40, 60}}, want: []told{{1, problem.Began, 0}, {12, problem.Ended, 12}, {40, problem.Began, 0}, {60, problem.Ended, 60}}},
		{name: "not known for a while", least: problem.Warning, there: []span{{1, 30}}, blind: []span{{5, 20}}, want: []told{{1, problem.Began, 0}, {30, problem.Ended, 30}}},
		{name: "summed up by one who tells nobody", least: problem.Warning, there: []span{{1, 20}}, deaf: []span{{0, 4}, {15, 25}}, want: []told{{4, problem.Began, 0}, {25, problem.Ended, 20}}},
		{name: "nobody to be told for long", least: problem.Warning, there: []span{{1, 4}}, deaf: []span{{2, 70}}, want: []told{{1, problem.Began, 0}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			within := func(spans []span, m int) bool {
				for _, s := range spans {
					if m >= s.begin && m < s.end {
						return true
					}
				}
				return false
			}
			var got []told
			var noted []tally.Sign
			for m := range 80 {
				s := newScene()
				at := now.Add(time.Duration(m) * time.Minute)
				s.Snapshot.At, s.worker.Seen = at, at
				s.Minutes = []*tally.Record{minuteOf(at.Add(-80 * time.Second))}
				s.Minutes[0].Periods[0].Backlog.Signs = noted
				if within(tt.there, m) {
					s.worker.Stuck = 1
				}
				if within(tt.blind, m) {
					s.Snapshot.Workers, s.Snapshot.Missing = nil, []view.Missing{{What: view.MissingRegistry, Why: "silent"}}
				}
				r := problem.Decide(s.Facts)
				if !within(tt.deaf, m) {
					for _, msg := range r.Messages(tt.least) {
						if msg.Problem.Code != problem.Stuck || msg.Problem.Level != problem.Warning || msg.Problem.Text == "" {
							t.Errorf("minute %d: told of %+v", m, msg.Problem)
						}
						e := told{Minute: m, Event: msg.Event}
						if !msg.EndedAt.IsZero() {
							e.Over = int(msg.EndedAt.Sub(now) / time.Minute)
						}
						got = append(got, e)
					}
				}
				noted = r.Signs
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
