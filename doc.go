// Package millhand runs background jobs on NATS JetStream.
//
// A payload is a type of your own, which travels as JSON and names the type of job:
//
//	type Email struct{ To string }
//
//	func (Email) Type() string { return "email" }
//
// A program that enqueues jobs needs a connection and a [Client]:
//
//	nc, err := nats.Connect(url, millhand.ConnectOptions(nil)...)
//	client, err := millhand.NewClient(nc, millhand.Config{})
//	ref, err := client.Enqueue(ctx, Email{To: "a@example.com"})
//
// One that runs them needs a connection, a [Mux] of handlers and a [Worker]:
//
//	mux := millhand.NewMux()
//	millhand.Handle(mux, func(ctx context.Context, j *millhand.Job[Email]) error {
//		return send(ctx, j.Args.To) // an error is retried with backoff
//	})
//	worker, err := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux})
//	err = worker.Run(ctx) // until ctx ends; then it drains
//
// # The connection
//
// A worker must outlive any outage of its broker, and must not send later what it could not
// send in time: an acknowledgement that arrives after the lease was lost is a lie. [NewWorker]
// therefore refuses a connection that gives up reconnecting or that buffers while it is
// disconnected, as one of nats.go does by default. [ConnectOptions] has what is needed. A
// [Client] takes any connection.
//
// # What is promised
//
//   - An acknowledged enqueue is never lost, as far as the broker is configured to keep it.
//   - A job's life begins with its enqueue and ends exactly once: as [Succeeded], [Dead] or
//     [Cancelled]. Whatever has its id later is another life.
//   - A job runs at least once. It runs again after a crash or a lost lease, so handlers must
//     be idempotent; the job's id is the key for that.
//   - At most one job with an id of the caller's choice is alive at a time ([WithID]). An id
//     can be derived from the payload ([WithUnique]), and kept beyond its job's end, once per
//     period ([WithUniqueFor]).
//   - A job that waits for its time does not start before it. The broker's clock decides,
//     whatever those of callers and workers say ([WithDelay], [WithRunAt]).
//   - Each tick of a schedule is one job, with any number of workers ([Cron]).
//   - A job that was cancelled before it started does not start ([Client.Cancel]).
//   - A worker holds a job under a lease, 30 s unless configured, and renews it for as long
//     as the job takes. The jobs of a crashed worker run elsewhere once their leases end.
//   - No job starts above a limit, whatever becomes of workers, brokers and networks
//     ([Quota]).
//   - A worker that stops finishes its jobs or hands them back, with no attempt counted.
//   - Backlog is free: jobs are delivered as fast from a long queue as from a short one.
//
// # What is not
//
// Exactly-once side effects; order between jobs; an enqueue inside a transaction of your
// database; stopping a handler that ignores its context.
//
// # What is where
//
//   - Enqueue: [Client.Enqueue]; many, [Client.EnqueueMany]; all or none,
//     [Client.EnqueueAtomic]; each with an [EnqueueOption]; around all of it [Client.Use]
//   - Enqueue on a schedule: [Cron], [Client.PutCron], [Client.DeleteCron], [Client.Crons]
//   - Handle: [Handle], [HandleResult], [Mux.HandleFunc], [TypeConfig], [Mux.Use]; what a
//     handler's error means: [Permanent], [RetryAfter], [Snooze], [HandBack]; how far it is:
//     [Job.Progress]
//   - Run: [NewWorker], [WorkerConfig], [Worker.Run], [Worker.Health], [Worker.Ready]
//   - Wait for a job: [Call], [Client.Await], [AwaitResult], [Poll]; for one of each element of
//     a sequence, [Map]
//   - Look at jobs: [Client.Get], [Client.Watch]; those that are alive, [Client.Jobs]; what
//     becomes of all, [Client.Events], for as long as [Client.SetRetention] says; what one waits
//     for, [Client.Why]; how many there are, [Client.Snapshot]
//   - Change a job: [Client.Move], [Client.RunNow], [Client.Release]; end it, [Client.Cancel],
//     [Client.CancelMany]
//   - Dead jobs: [Client.Dead], [Client.CountDead], [Client.Requeue], [Client.RequeueDead],
//     [Client.PurgeDead]
//   - See the workers: [Client.Workers], [Client.WatchWorkers], [Client.Running],
//     [Client.FindRunning]
//   - Limit and pause: [Client.SetQuota], [Client.ResetQuota], [Client.Quotas],
//     [Client.Pause], [Client.Resume], [Client.Paused]
//   - Errors: the sentinels below, to compare with [errors.Is]; [InvalidError],
//     [DuplicateError], [QuotaError], [FailedError], [FinishedError], [BatchError] and
//     [AtomicError] say more, and [MaybeStored] whether to try again
//
// Services in other languages enqueue with one plain NATS publish: docs/wire.md.
package millhand
