package main

import (
	"github.com/millhand/millhand/internal/view"
)

// countText is a number with how it was got: 12,408 · ≈12,408 · >500,000 · ?.
func countText(c view.Count) string {
	switch {
	case !c.Known():
		return "?"
	case c.How == view.About:
		return "≈" + thousands(c.Value)
	case c.How == view.AtLeast:
		return ">" + thousands(c.Value)
	}
	return thousands(c.Value)
}

func countCell(c view.Count) cell { return plain(countText(c)) }

// sum adds up a count of all queues.
func sum(s *view.Snapshot, of func(*view.Queue) view.Count) view.Count {
	total := view.Counted(0, view.Exact, s.At)
	for i := range s.Queues {
		total = total.Plus(of(&s.Queues[i]))
	}
	return total
}
