// Package metrics shows to Prometheus what workers count. It does not count that itself, so what it
// shows and what the statistics have is one measurement.
//
// The labels have few values: there is none of a job, an error or a worker, and at most 200 types have
// one of their own.
//
//	worker.go     what a worker knows of itself
//	client.go     what a client enqueues
//	types.go      which types have a value of their own
//	histogram.go  one histogram, classic and native
package metrics
