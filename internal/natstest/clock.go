package natstest

import (
	"sync"
	"sync/atomic"
	"time"
	_ "unsafe" // for linkname
)

// The server reads the time from one variable, which a goroutine of its package updates. That
// goroutine waits on a channel of its package and so never counts as durably blocked: inside a
// bubble it would stop virtual time, and outside a bubble it would give the bubble's server real
// time, which hardly passes meanwhile. A stream whose clock stands still puts off what expires,
// with each write, by another quarter of a second. So a bubble does without the goroutine and
// updates the variable itself.

//go:linkname clockTime github.com/nats-io/nats-server/v2/server/ats.utime
var clockTime atomic.Int64 //nolint:gochecknoglobals // the server's

//go:linkname clockUsers github.com/nats-io/nats-server/v2/server/ats.refs
var clockUsers atomic.Int64 //nolint:gochecknoglobals // the server's

// takeClock keeps servers from starting their clock, until it is called back.
func takeClock() (giveBack func()) {
	clockUsers.Add(1) // so the next server takes it for running
	return func() { clockUsers.Add(-1) }
}

// runClock gives the bubble's servers the bubble's time.
func runClock(t TB) {
	clockTime.Store(time.Now().UnixNano())
	tick := time.NewTicker(100 * time.Millisecond)
	stop := make(chan struct{})
	go func() {
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				clockTime.Store(now.UnixNano())
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop) })
}

// nats.go keeps timers for later use. One of a bubble must not be used in another.
//
//go:linkname timerPool github.com/nats-io/nats%2ego.globalTimerPool
var timerPool struct{ p sync.Pool } //nolint:gochecknoglobals // the client's

// dropTimers forgets those timers. Two garbage collections, which empty each pool, cost more than many
// a test.
func dropTimers() { timerPool.p = sync.Pool{} }
