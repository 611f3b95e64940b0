// Package stats keeps what workers count, as records of a stream: each worker's of ten seconds, and
// sums of all of them of minutes, ten minutes and hours.
//
//	node.* ──► 1m ──► 10m ──► 1h
//
// There is no leader. Any worker may write the next sum, on the condition that it follows the last
// one, which says up to where in the stream it has everything. So each record of a worker is in one
// sum, whoever dies where, and what came too late for one is in the next.
//
//	store.go      the stream
//	recorder.go   a worker's part that writes its records
//	merger.go     a worker's part that writes the sums
//	merge.go      one sum
//	history.go    what they say
package stats
