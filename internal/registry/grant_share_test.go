package registry

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestTargets(t *testing.T) {
	tests := []struct {
		name  string
		limit int
		nodes map[string]Grant
		want  map[string]int
	}{
		{"nobody", 5, nil, map[string]int{}},
		{"one", 5, map[string]Grant{"a": {Want: 10}}, map[string]int{"a": 5}},
		{"more than is wanted", 5, map[string]Grant{"a": {Want: 2}, "b": {Want: 1}}, map[string]int{"a": 2, "b": 1}},
		{"even", 6, map[string]Grant{"a": {Want: 9}, "b": {Want: 9}}, map[string]int{"a": 3, "b": 3}},
		{"who wants little leaves the rest", 10, map[string]Grant{"a": {Want: 1}, "b": {Want: 9}, "c": {Want: 9}}, map[string]int{"a": 1, "b": 5, "c": 4}},
		{"the rest stays with its holder", 5, map[string]Grant{"a": {Want: 9, Held: 2}, "b": {Want: 9, Held: 3}}, map[string]int{"a": 2, "b": 3}},
		{"the rest stays with its user", 3, map[string]Grant{"a": {Want: 9, Held: 2}, "b": {Want: 9, Held: 2, Used: 2}}, map[string]int{"a": 1, "b": 2}},
		{"fewer than nodes", 1, map[string]Grant{"a": {Want: 1}, "b": {Want: 1, Held: 1}, "c": {Want: 1}}, map[string]int{"a": 0, "b": 1, "c": 0}},
		{"need before want", 10, map[string]Grant{"a": {Want: 9, Held: 5, Used: 1}, "b": {Want: 20, Need: 20, Held: 5}}, map[string]int{"a": 0, "b": 10}},
		{"what is not needed is for who wants it", 10, map[string]Grant{"a": {Want: 9, Need: 1}, "b": {Want: 20, Need: 7}}, map[string]int{"a": 3, "b": 7}},
		{"a small need changes nothing", 10, map[string]Grant{"a": {Want: 9}, "b": {Want: 9, Need: 4}}, map[string]int{"a": 5, "b": 5}},
		{"needs are even", 6, map[string]Grant{"a": {Want: 9, Need: 2}, "b": {Want: 9, Need: 9}, "c": {Want: 9, Held: 3}}, map[string]int{"a": 2, "b": 4, "c": 0}},
		{"the last one is for the pressed", 1, map[string]Grant{"a": {Want: 1, Held: 1}, "b": {Want: 1, Need: 1}}, map[string]int{"a": 0, "b": 1}},
		{"who had a turn is last", 1, map[string]Grant{"a": {Want: 1, Need: 1, Held: 1, Turn: 3}, "b": {Want: 1, Need: 1, Turn: 2}, "c": {Want: 1, Need: 1, Turn: 1}}, map[string]int{"a": 0, "b": 0, "c": 1}},
		{"needs are at most what is wanted", 4, map[string]Grant{"a": {Want: 1, Need: 9}, "b": {Want: 9, Need: -1}}, map[string]int{"a": 1, "b": 3}},
		{"no limit left", 0, map[string]Grant{"a": {Want: 3, Held: 3, Used: 3}}, map[string]int{"a": 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := targets(tt.limit, tt.nodes); !maps.Equal(got, tt.want) {
				t.Errorf("targets(%d, %v) = %v, want %v", tt.limit, tt.nodes, got, tt.want)
			}
		})
	}
}

// drawNodes makes nodes that hold no more than the limit together.
func drawNodes(t *rapid.T, limit int) map[string]Grant {
	nodes := make(map[string]Grant)
	left := limit
	for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
		held := rapid.IntRange(0, left).Draw(t, "held")
		left -= held
		nodes[fmt.Sprintf("n%02d", i)] = Grant{
			Held: held, Used: rapid.IntRange(0, held).Draw(t, "used"), Want: rapid.IntRange(0, 30).Draw(t, "want"),
			Need: rapid.IntRange(0, 30).Draw(t, "need"), Turn: rapid.IntRange(0, 3).Draw(t, "turn"),
		}
	}
	return nodes
}

func sum(values map[string]int) (n int) {
	for _, v := range values {
		n += v
	}
	return n
}

func held(nodes map[string]Grant) (n int) {
	for _, g := range nodes {
		n += g.Held
	}
	return n
}

func wanted(nodes map[string]Grant) (n int) {
	for _, g := range nodes {
		n += g.Want
	}
	return n
}

func TestTargetsAreFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(0, 60).Draw(t, "limit")
		nodes := drawNodes(t, limit)
		got := targets(limit, nodes)
		if want := min(limit, wanted(nodes)); sum(got) != want {
			t.Fatalf("targets of %d are %v, together %d, want %d", limit, got, sum(got), want)
		}
		needs := 0
		for _, g := range nodes {
			needs += g.needs()
		}
		for a, ga := range nodes {
			if got[a] < 0 || got[a] > ga.Want {
				t.Fatalf("%s gets %d, wants %d", a, got[a], ga.Want)
			}
			if needs <= limit && got[a] < ga.needs() || needs > limit && got[a] > ga.needs() {
				t.Fatalf("%s gets %d, needs %d, and all together %d of %d", a, got[a], ga.needs(), needs, limit)
			}
			for b, gb := range nodes {
				switch {
				case got[b] <= got[a]+1:
				case got[a] < ga.needs():
					t.Fatalf("%s gets %d, needs %d, while %s gets %d", a, got[a], ga.needs(), b, got[b])
				case got[a] < ga.Want && got[b] > gb.needs():
					t.Fatalf("%s gets %d, wants %d, while %s gets %d and needs %d", a, got[a], ga.Want, b, got[b], gb.needs())
				}
			}
		}
	})
}

// Where fewer permits than nodes are there that need one, all have their turn, and no permit
// is idle longer than it takes to pass it on.
func TestTurnsGoRound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := make(map[string]Grant)
		count := rapid.IntRange(2, 9).Draw(t, "nodes")
		limit := rapid.IntRange(1, count-1).Draw(t, "limit")
		for i := range count {
			need := rapid.IntRange(1, 30).Draw(t, "need")
			nodes[fmt.Sprintf("n%02d", i)] = Grant{Need: need, Want: need + rapid.IntRange(0, 3).Draw(t, "more"), Turn: rapid.IntRange(0, 3).Draw(t, "turn")}
		}
		ids := slices.Sorted(maps.Keys(nodes))
		had, took, clock := make(map[string]int), make(map[string]int), 0
		step := func(id string) {
			g := nodes[id]
			before := g.Held
			if g.Held = next(limit, nodes, id).hold; before == 0 && g.Held > 0 {
				g.Turn = 0
				clock++
				had[id]++
				took[id] = clock
			}
			nodes[id] = g
		}
		rest := func() {
			for range 4 {
				for _, id := range ids {
					step(id)
				}
			}
			if held(nodes) != limit {
				t.Fatalf("%d of %d are held: %v", held(nodes), limit, nodes)
			}
		}
		rest()
		const rounds = 5
		for range rounds * count {
			up := slices.Clone(ids) // whose time is up, the longest first
			slices.SortFunc(up, func(a, b string) int { return took[a] - took[b] })
			for _, id := range up {
				if !yields(limit, nodes, id) {
					continue
				}
				g := nodes[id]
				g.Turn = lastTurn(nodes)
				nodes[id] = g
				if rapid.Bool().Draw(t, "alone") {
					break
				}
			}
			rest()
		}
		for _, id := range ids {
			if had[id] < 2 {
				t.Fatalf("%s had %d turns, all %v", id, had[id], had)
			}
		}
	})
}

// Nodes that write one after the other, in any order, some seldom, come to rest at the
// targets, and on the way never hold more than the limit.
func TestSharesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(0, 60).Draw(t, "limit")
		nodes := drawNodes(t, limit)
		if rapid.Bool().Draw(t, "limit changes") {
			limit = rapid.IntRange(0, 60).Draw(t, "new limit")
		}
		ids := slices.Sorted(maps.Keys(nodes))
		before := held(nodes)
		step := func(id string) {
			g := nodes[id]
			g.Held = next(limit, nodes, id).hold
			if g.Held < g.Used {
				t.Fatalf("%s gives up what it uses: %v", id, g)
			}
			nodes[id] = g
			if now := held(nodes); now > limit && now > before {
				t.Fatalf("%d held, limit %d: %v", now, limit, nodes)
			} else {
				before = now
			}
		}
		for range rapid.IntRange(0, 30).Draw(t, "steps in any order") {
			step(rapid.SampledFrom(ids).Draw(t, "node"))
			if rapid.IntRange(0, 4).Draw(t, "jobs end") == 0 {
				id := rapid.SampledFrom(ids).Draw(t, "where")
				g := nodes[id]
				g.Used = rapid.IntRange(0, g.Used).Draw(t, "used")
				nodes[id] = g
			}
		}
		for id, g := range nodes { // in the end all jobs have ended
			g.Used = 0
			nodes[id] = g
		}
		for range 6 {
			for _, id := range ids {
				step(id)
			}
		}
		want := targets(limit, nodes)
		for id, g := range nodes {
			if g.Held != want[id] {
				t.Fatalf("%s holds %d, want %d of %v", id, g.Held, want[id], nodes)
			}
			if c := next(limit, nodes, id); c.hold != g.Held || c.use != g.Held {
				t.Fatalf("%s would move from %d to %d and use %d at rest", id, g.Held, c.hold, c.use)
			}
			if pressed(limit, nodes, id) {
				t.Fatalf("at rest somebody needs what %s has free: %v", id, nodes)
			}
		}
	})
}

// Jobs that never end keep their permits; what they leave is not idle while somebody wants it.
func TestNothingIdles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(0, 60).Draw(t, "limit")
		nodes := drawNodes(t, limit)
		for id, g := range nodes {
			g.Want = max(g.Want, g.Used)
			nodes[id] = g
		}
		for range 3 {
			for _, id := range slices.Sorted(maps.Keys(nodes)) {
				g := nodes[id]
				g.Held = next(limit, nodes, id).hold
				nodes[id] = g
			}
		}
		if want := min(limit, wanted(nodes)); held(nodes) < want {
			t.Fatalf("%d held, want %d: %v", held(nodes), want, nodes)
		}
	})
}

func TestStays(t *testing.T) {
	busy := func(held, turn int) Grant { return Grant{Held: held, Used: held, Need: 1, Want: 1, Turn: turn} }
	for name, tt := range map[string]struct {
		limit int
		nodes map[string]Grant
		want  bool
	}{
		"one yields and two wait":          {3, map[string]Grant{"me": busy(1, 1), "b": busy(1, 0), "c": busy(1, 0), "d": busy(0, 0), "e": busy(0, 0)}, false},
		"two others yielded at once":       {3, map[string]Grant{"me": busy(1, 1), "b": busy(0, 1), "c": busy(0, 1), "d": busy(1, 0), "e": busy(1, 0)}, true},
		"one other yielded, and one waits": {3, map[string]Grant{"me": busy(1, 1), "b": busy(0, 1), "c": busy(1, 0), "d": busy(1, 0), "e": busy(0, 0)}, false},
		"it does not yield":                {1, map[string]Grant{"me": busy(1, 0), "b": busy(0, 0)}, false},
		"it has passed its permit on":      {1, map[string]Grant{"me": busy(0, 1), "b": busy(1, 0)}, false},
		"who waited has no jobs any more":  {1, map[string]Grant{"me": busy(1, 1), "b": {}}, true},
	} {
		if got := stays(tt.limit, tt.nodes, "me"); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
