// Package peers compares package flow with others that do the same work: samber/ro, reugn/go-streams,
// sourcegraph/conc, and loops over errgroup written by hand. From this directory:
//
//	go test . -run '^$' -bench . -benchtime 3x -count 5
//
// docs/performance.md has the table. Every contestant yields the same result, which is checked in each round.
package peers
