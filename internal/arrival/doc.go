// Package arrival brings workflows to their end over the broker. It has no part that runs by itself: whoever
// ends the job of a step counts that in the workflow's tally, by a conditional write, and releases what it
// opens, before the job's message is removed. What may run is decided by package workflow; docs/wire.md has
// the documents.
package arrival
