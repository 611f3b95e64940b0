// Package queue is everything JetStream: names, enqueue, pull, lease, settle, events.
//
//	enqueue ──► ready ──► puller ──► runner (root package) ──► settler
//	              ▲          │ lease            │                 │ 1 event
//	              │          └─► renewer ◄───────┘                 │ 2 effect
//	              └───────── successor, dead record ◄─────────────┘ 3 ack
//
// A [Store] is a namespace's streams over one connection. A [Puller] turns demand into
// pull requests, as much of it as the [Gate] finds room for, and emits jobs in hand, each a
// [Delivery] under a lease that the [Renewer] renews. The [Settler] writes how each ended.
//
// # Limits
//
// The jobs of a type, of a key or of a queue may be limited, over all nodes: so many at once,
// or so many starts in a period. This node's part of a limit is a [Pool], and whoever speaks
// with the other nodes says how many permits are in it, and until when. The gate asks for no
// more jobs than there are free permits in each of their pools, counting what was asked for
// and has not come; a job starts only if the permits it was asked for with were never lost
// since; and [Gate.Guard] tells those that run when theirs end.
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
// A handler that ignores its context runs on after its lease or its permit is lost: only the
// end of the process stops it. Between the check of a permit and the handler's first
// instruction a process may be frozen, and a rate is exceeded by what starts then. Conditions are as
// good as the broker's memory: once events of an id have expired, only the queue's stream
// tells its lives apart. A broker that loses its data loses what was in it.
package queue
