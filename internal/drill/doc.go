// Package drill rehearses what Millhand is for, on the broker that there is: a queue of its own, workers
// of its own as child processes, and jobs that say when they start and end. By a seed it kills workers,
// freezes them and has them drained. Afterwards it looks whether every promise was kept, by what the
// jobs saw from inside and by what the events say.
//
//	conduct ──► Observations ──► checks ──► results
//
// The checks are pure.
package drill
