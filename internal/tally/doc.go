// Package tally counts what becomes of jobs, and sums it up. It is pure: who stores what it makes is
// [github.com/millhand/millhand/internal/history].
//
//	counter.go    what is counted
//	live.go       a worker's counters, for all queues and types
//	timer.go      a histogram that grows
//	histogram.go  how long something took, in buckets that can be added
//	counts.go     what was counted of one queue and type in some time
//	record.go     the form in which it is stored
//	recorder.go   a worker's next record
//	outbox.go     its records until they are stored
//	merge.go      records that sum up others, one following the other
//	series.go     what a chart or a table shows of them
package tally
