// Package explain says why a job is where it is: what it waits for, who has it, or how it ended. It is
// pure: a case that internal/view gathered goes in, and reasons come out, of which the first one is what
// keeps the job for longest. Only [Look] asks anybody, and looks again before it says that there is no
// reason.
//
//	ended      succeeded, dead, cancelled, or nothing is known of it
//	later      it waits for its time
//	ready      something keeps it from being handed out, or others go first
//	handed out a worker has it, had it, or is about to give it back
package explain
