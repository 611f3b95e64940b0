package main

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
)

// An engine puts jobs on a broker and takes them off: Millhand or plain JetStream.
type engine interface {
	// open makes the queues where they do not exist.
	open(ctx context.Context, queues []string) error
	// enqueue returns when the broker has the job.
	enqueue(ctx context.Context, queue, typ string, payload []byte) error
	// enqueueMany returns when it has them all.
	enqueueMany(ctx context.Context, queue, typ string, payloads [][]byte) error
	// work handles jobs until ctx ends.
	work(ctx context.Context, spec workerSpec, handle func(context.Context, job) error) error
}

// A job is what a handler is given.
type job struct {
	typ     string
	payload []byte
	attempt int
}

// The names of the engines, and of the contestants that are nothing but them.
const (
	mill       = "millhand"
	raw        = "raw"
	rawOne     = "raw one subject"
	rawEvent   = "raw with events" // an event is confirmed before each ack
	rawAlike   = "raw alike"       // raw with as many in hand as Millhand
	millSilent = "events off"      // of jobs that succeed
	atomically = "atomic"          // EnqueueAtomic for EnqueueMany
	withIDs    = "chosen ids"      // of Millhand: the same ones in each process
	keepingIDs = "kept ids"        // these stay taken
	scheduling = "scheduled"       // of Millhand: jobs for tomorrow
)

// How many messages contestants have in hand, for no-op jobs.
const (
	rawInHand  = 1000
	millInHand = 4 * concurrency // Millhand decides itself; this is its bound
)

// concurrency is that of every worker.
const concurrency = 100

func newEngine(name string, nc *nats.Conn) (engine, error) {
	switch name {
	case mill, atomically, withIDs, keepingIDs, scheduling:
		return newMillhandEngine(nc, name)
	case raw:
		return newRawEngine(nc, false)
	case rawOne:
		return newRawEngine(nc, true)
	case rawEvent:
		return newRawEventEngine(nc)
	}
	return nil, fmt.Errorf("no engine %q", name)
}

// streamOf returns the stream of a queue, and how many messages it has when it is empty.
func streamOf(engine, queue string) (stream string, empty uint64) {
	switch engine {
	case mill, atomically, withIDs, keepingIDs, scheduling:
		return "millhand-queue-" + queue, 1 // the pin
	}
	return rawStream(queue), 0
}
