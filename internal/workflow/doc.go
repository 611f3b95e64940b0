// Package workflow is what there is to know about jobs that depend on each other, without a broker
// and without a clock:
//
//   - A [Spec] is the graph as it is stored: steps, and what each of them comes after.
//   - A [Tally] is how far it has come: two bits a step, which are set once and never change within a
//     generation. There are no counters, since what is counted twice is counted wrong.
//   - A [Graph] tells from both what may run ([Graph.Gate]), what never will ([Graph.Close]), what
//     the end of a step opens ([Graph.Opens]) and how the whole has ended ([Graph.Outcome]).
//   - A [Root] and its [Shard] documents are the tally of a group, a step of many jobs.
//
// All documents are values: what changes one returns another, to be written on the condition that the
// first is still the stored one. So of two that end at once, the one whose write is second sees both.
package workflow
