// Package worker is the supervision tree of one worker: what pulls jobs, runs them and passes on
// how they ended. The public package translates its configuration and what it says of itself.
package worker
