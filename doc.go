// Package millhand runs background jobs on NATS JetStream.
//
// A program that enqueues needs a [Client]:
//
//	client, err := millhand.NewClient(nc, millhand.Config{})
//	ref, err := client.Enqueue(ctx, Email{To: "a@example.com"})
//
// and one that runs jobs a [Mux] of handlers and a [Worker]:
//
//	mux := millhand.NewMux()
//	millhand.Handle(mux, func(ctx context.Context, j *millhand.Job[Email]) error {
//		return send(ctx, j.Args)
//	})
//	worker, err := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux})
//	err = worker.Run(ctx) // until ctx ends; then it drains
//
// where Email is a type of payload that travels as JSON:
//
//	type Email struct{ To string }
//
//	func (Email) Type() string { return "email" }
//
// # What is promised
//
//   - An acknowledged enqueue is never lost, as far as the broker is configured to last.
//   - Every life of a job ends exactly once: [Succeeded], [Dead] or [Cancelled].
//   - A job runs at least once. It runs again after a crash or a lost lease, so handlers
//     are idempotent; the job's id is the key for that.
//   - A job of a chosen id is alive once ([WithID]).
//   - A crashed worker's jobs run elsewhere within the lease, 30 s unless configured,
//     however long the job takes.
//   - A worker that stops finishes its jobs or hands them back, with no attempt counted.
//   - What waits costs nothing: a job in a long queue is as fast as in a short one.
//
// # What is not
//
// Exactly-once side effects; order between jobs; an enqueue inside a transaction of your
// database; stopping a handler that ignores its context.
//
// Services in other languages enqueue with one plain NATS publish: docs/wire.md.
package millhand
