// Package verify looks whether a namespace keeps its promises: that no job is lost and none ends
// twice, that no limit is exceeded, that leases and permits end by themselves, that what can run
// runs, and that the broker is set up so that all this can hold.
//
//	gather ──► Facts ──► check ──► Findings ──┐   another look, 2/3 of a lease later
//	   ▲                                      ▼
//	   └──────────── open findings ◄── seen before? ──► Report
//
// A check is pure: facts in, findings out. A finding names what it is about, down to the sequence, so
// that two looks can be compared: only what all looks saw is reported. What is in flight between two
// answers of a broker that works is gone at the next look.
//
// Nothing here writes, nothing lists subjects, and each look has bounds: see [Options]. Each check says
// how many things it looked at. One that looked at nothing is skipped, and has not passed.
package verify
