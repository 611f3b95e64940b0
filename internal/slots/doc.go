// Package slots decides who may ask for jobs and who may start them. It knows no NATS: pullers and
// runners tell it what happened, and it has sources asked for jobs.
//
//	puller ── Delivered, Returned ──► Source ──► demand ──► planner ──► Source.ask
//	runner ── Start, Finished ──────► Ticket ───────┘           ▲
//	agent  ── Allow, Lose, Lift ────► Limiter ──────────────────┘
//
// [Slots] are what a worker can do at once. A [Source] is one type in one queue, from which jobs
// come. A [Ticket] is one job in hand. A [Limiter] is this node's part of a limit that all nodes
// share, under a [Key].
//
// A slot is free if fewer jobs are in hand than may run. A planner shares the free slots among the
// sources, by the weight of their queues or strictly by it, each time that something changes. A
// source that has jobs waiting is asked for as many as there are slots for. One that has none is
// sent a request that stands until a job comes; there are at most eight of those beyond the
// free slots, in rotation. Short jobs are asked for ahead of free slots.
//
// # Limits
//
// The jobs of a type, of a key or of a queue may be limited across all nodes: this many at once,
// or this many starts in a period. Whoever speaks with the other nodes says how many permits this
// node has, and until when. No more jobs are asked for than there are free permits in each limit
// that they belong to, counting what was asked for and has not come. A job starts only if the
// permits that it was asked for with were never lost since. [Slots.WatchPermits] tells running jobs
// when theirs end.
//
// # Concurrency
//
// All methods may be called from any goroutine and none of them blocks, except for
// [Slots.WatchPermits]. There is one lock. What is unexported expects it to be held, and reads no
// clock of its own.
//
// # Blind spots
//
// Between the check of a permit and the handler's first instruction a process may be frozen: a rate
// is exceeded by what starts then. A handler that ignores its context keeps its permit for as long
// as it runs, and may run on when the permit is another node's; [Slots.OnOverrun] says so.
package slots
