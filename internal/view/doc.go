// Package view is what an operator sees of a namespace: counts with how they were got, queues, types,
// workers and limits, lists of jobs, and all about one job. It reads and never writes, and makes no
// stream. The commands, the metrics and the dashboard stand on it.
//
//	registry ──────────────────────┐
//	STREAM.INFO, CONSUMER.LIST ────┼─► facts ─► Snapshot
//	direct gets, leader reads ─────┴─► Find, Job, List
//
// # What a look costs
//
// Nothing that is polled costs the broker more with a longer backlog:
//
//   - a snapshot asks for the state of each stream and the consumers of each queue, whatever is in
//     them, one snapshot at a time in a process, shared by all who look
//   - what has to be counted message by message is counted where it is known to be little, and not
//     more often than every ten seconds
//   - what reads many messages is asked for by a person, has a budget, and says what it looked at
//
// A number that could not be had is unknown, never 0 and never an old one without its time.
package view
