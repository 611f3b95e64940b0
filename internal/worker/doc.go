// Package worker runs jobs: it is the supervision tree of one worker. The public package
// translates its configuration, and what it says of itself, for callers.
//
// A job's way through it: the [queue.Puller] of its type hands it to the runner of its queue,
// which starts an attempt on a goroutine of its own; the attempt waits for a slot, calls the
// handler and decides what follows (outcome); the settler writes that.
//
//	worker.go     what a worker is made of, its run and its drain
//	tree.go       the tree, in start order
//	open.go       what a start waits for
//	runner.go     the jobs of one queue
//	attempt.go    one run of a job
//	outcome.go    what follows from it
//	batch.go      jobs that wait for others to run with
//	batch_call.go one run of many jobs
//	batch_stop.go how that is told to end
//	agent.go      the worker's part in the registry
//	unhandled.go  types that wait and that nobody here handles
//	counts.go     what it counts of them
//	backlog.go    what its statistics say of what waits
//	health.go     what it says of itself
package worker
