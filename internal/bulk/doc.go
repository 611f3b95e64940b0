// Package bulk does something to all jobs that a filter means: it looks, and once somebody has said
// that these are the ones, it acts at a pace and reports.
//
//	Kind.Meant ─► Look ─► (a person confirms) ─► Run ─► Report
//
// Only jobs are meant that were in their state when the operation began, and each is acted on only if
// it is still as it was seen: nothing is done to a job that has moved on meanwhile. So an operation
// can be stopped, be gone on with, and be repeated. What a process that died has not done is not done.
//
//	kind.go     which filters mean jobs that can be acted on
//	look.go     how many they are, and examples
//	run.go      acting, page by page
//	report.go   what became of them
//	pace.go     how fast: slower while writes are slow
//	action.go   retry, run, cancel, delete
package bulk
