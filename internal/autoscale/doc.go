// Package autoscale says how many slots the jobs want that wait and come: for whatever starts and stops
// workers. It is pure.
//
//	snapshot, statistics ─► Facts ─► Decide ─► Answer
//
// What a type wants is (jobs that become ready a second + ready jobs ÷ target) × how long one runs. What
// limits and pauses hold back is not wanted, since more workers would not run it either. So the answer
// is bounded as a whole:
//
//	what runs + the most of what is wanted beyond that which all limits let through
//
// which never falls when more jobs wait. Among jobs that share a limit it is shared out by what they want.
package autoscale
