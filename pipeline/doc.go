// Package pipeline takes messages from a source, processes them one by one, gathers what comes of them
// into batches, and settles each message exactly once. It is Broadway in Go:
// https://hexdocs.pm/broadway.
//
//	rows := pipeline.NewBatcher(pipeline.BatcherConfig[Row]{
//		Name: "rows", Size: 500, Wait: 200 * time.Millisecond,
//		Handle: func(ctx context.Context, b *pipeline.Batch[Row]) error { return insert(ctx, b.Items) },
//	})
//	p, err := pipeline.New(pipeline.Config[Order]{
//		Source: orders, Batchers: []pipeline.AnyBatcher{rows}, Concurrency: 32,
//		Process: func(ctx context.Context, m *pipeline.Message[Order]) error {
//			country, err := geo.Country(ctx, m.Value.Customer)
//			if err != nil {
//				return err // this message has failed
//			}
//			rows.Add(m, Row{m.Value, country})
//			return nil
//		},
//	})
//	err = p.Run(ctx)
//
// This package knows no broker and loses what it has in hand with its process; what is to come again then
// is the source's to know.
//
// # The life of a message
//
//	Source.Pull ── demand ──► by key, or to who is free ──► Process ──► batch ──► Handle ──► settle
//	    ▲                                                      │ error              │ error      one call of
//	    └────────── room, when a message is settled ◄──────────┴────────────────────┴─────────── each Acker
//
// The source is asked for as many messages as there is room for. What was delivered to one processor at
// once goes to Prepare together; then Process gets each, in order. A message
//
//   - has failed if Process returns an error or panics: none of the values that it added reaches a batch;
//   - has succeeded if Process returns nil and nothing was added;
//   - else is out until each of its values has been handled, and has failed if one of them has, with all
//     their errors.
//
// Messages that end together are settled together: those of a group that added nothing, and those whose
// last value was in the same batch. Failed gets those that failed first; then each Acker is called once.
//
// # When something fails
//
// The end of a message is an error, and what is not said is said by construction: what Handle returns is
// the end of every value that Batch.Fail has not given another. [Failure] says what happens before that:
// further attempts in place, batches halved until values fail alone, keys that wait, or the end of the
// pipeline. Panics, and functions that end their goroutine, fail what was called, and nothing else. The
// source is told, and does what it does with a failed message. Errors with a method Permanent() bool that
// returns true are not tried again in place, nor are those with RetryAfter() time.Duration.
//
// # Bounds
//
//   - messages in hand, pulled and not settled: InFlight;
//   - what a processor asks for at once: 10, or if InFlight is set its share of that; with an order 1;
//   - open batches of a batcher: Keys, after which the oldest is flushed;
//   - batches that wait for a call of Handle: Concurrency of the batcher, and those of one group of
//     messages for each processor; then processors wait;
//   - a batch: Size and Bytes;
//   - how long a value waits for others: Wait, from the first in its batch, and then for a free handler.
//
// If nothing more can come into the open batches, since they hold all there is room for, or the limiter,
// a pause or the end of the source keeps it shut, the oldest of them is handled at once: a batch of 100 does
// not wait for the rest of itself where only five messages may be in hand.
//
// # Order
//
// OrderBy gives messages keys: see [Config]. A message is processed when all earlier ones of its key are
// out of Process, and settled if they failed there. Without an order messages overtake each other, unless
// Concurrency is 1. What a source's own retry does to the order is the source's business.
//
// # The end
//
// When the context of Run ends, or the source does, nothing more is pulled, what is in hand goes its way,
// open batches are flushed, oldest first, and Run returns when everything is settled. What takes longer than
// DrainTimeout is handed back: see [Pipeline.Run].
//
// # What is not promised
//
//   - Exactly-once side effects. A message comes again if the process dies, or its Acker fails: use
//     [Message.ID] or [Batch.ID] to tell that it was handled before.
//   - A call that ignores its context cannot be ended. It is abandoned 10 s after it should have returned.
//   - A batcher is named twice, where it is made and in Batchers. One that is forgotten fails the first
//     message that adds to it.
package pipeline
