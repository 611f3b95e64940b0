// Package problem says what is wrong in a namespace. It is pure: a snapshot of internal/view and the
// sums of the last minutes of internal/stats go in, and problems come out. Only a [Looker] asks anybody.
//
//	snapshot ────────────┐
//	sums of minutes ─────┼─► Facts ─► Decide ─► Report
//	signs, as of then ───┘
//
// # Since when
//
// One look cannot see for how long something has been so. Some of it the broker tells: since when a job
// waits, when one was last handed out, since when a queue is paused. For the rest, whoever writes the sum
// of a minute looks too, and notes in it the signs that there were and since when. A sign that each look
// has seen since then is as old as that. What neither tells is not known, and Since is zero.
//
// A sign that is one only if it lasts, such as a job without a worker, is no problem before it is known
// to have lasted.
//
//	problem.go   the codes
//	facts.go     what is known, and the window of the last minutes
//	decide.go    from signs to problems
//	jobs.go      what waits
//	ends.go      how runs end
//	workers.go   workers and what they share
//	broker.go    streams, replicas and room
//	look.go      asking
package problem
