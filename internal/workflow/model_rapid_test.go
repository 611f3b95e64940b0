package workflow

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// A drawn dice is of rapid, which shortens a history that shows a fault.
type drawn struct {
	t   *rapid.T
	gen map[int]*rapid.Generator[int]
}

func draw(t *rapid.T) *drawn { return &drawn{t, make(map[int]*rapid.Generator[int])} }

func (d *drawn) IntN(n int) int {
	if d.gen[n] == nil {
		d.gen[n] = rapid.IntRange(0, n-1)
	}
	return d.gen[n].Draw(d.t, "choice")
}

func (d *drawn) Float64() float64 { return float64(d.IntN(1000)) / 1000 }

func (d *drawn) Perm(n int) []int {
	all := make([]int, n)
	for i := range all {
		j := d.IntN(i + 1)
		all[i], all[j] = all[j], i
	}
	return all
}

var _ dice = (*rand.Rand)(nil)

// The models again, for a short history of what goes wrong: -rapid.checks says how many.
func TestModelsByRapid(t *testing.T) {
	t.Run("workflows", rapid.MakeCheck(func(t *rapid.T) {
		m := newModel(draw(t), modelRules{})
		m.run()
		if bad := m.broken(); bad != "" {
			t.Fatal(bad, string(encode(m.graph.Spec)))
		}
	}))
	t.Run("groups", rapid.MakeCheck(func(t *rapid.T) {
		m := newGroupModel(draw(t), modelRules{})
		m.run()
		if m.wrong != "" {
			t.Fatal(m.wrong)
		}
	}))
	t.Run("generations", rapid.MakeCheck(func(t *rapid.T) {
		m := newGenerationModel(draw(t), modelRules{})
		m.run()
		if m.wrong != "" {
			t.Fatal(m.wrong)
		}
	}))
}
