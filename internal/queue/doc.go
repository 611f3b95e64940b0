// Package queue is the life of a job on JetStream: enqueue, pull, lease, settle, events. How
// JetStream is spoken is up to package stream.
//
//	enqueue ──► ready ──► puller ──► runner (package worker) ──► settler
//	              ▲          │ lease   │                            │ 1 event
//	              │          └► renewer ◄┘                          │ 2 effect
//	              └──────── successor, dead record ◄────────────────┘ 3 ack
//
// A [Store] is a namespace's streams over one [stream.Client]. A [Puller] turns what
// its [slots.Source] is asked for into pull requests and emits jobs in hand, each a [Delivery]
// under a lease that the [Renewer] renews. The [Settler] writes how each ended. How many jobs are
// asked for and which may start is decided by package slots, with all that is about limits.
//
// # Guarantees
//
// A message is run at most once, on its first delivery. Its end is written as event,
// effect, ack, each confirmed before the next and each on a condition that only one
// holder of the job can meet: the event that the last one it knows is the last there
// is, the successor that the message it follows is the newest of its id. Whoever crashes
// in between leaves a job that runs again. Whoever has lost its lease writes nothing,
// and if its clock deceives it, is refused.
//
// # Blind spots
//
// A handler that ignores its context runs on after its lease is lost: only the end of the
// process stops it. Conditions are as good as the broker's memory: once the events of an id have
// expired, only the queue's stream tells its lives apart. A broker that loses its data loses what
// was in it.
package queue
