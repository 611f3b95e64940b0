// Package stages exchanges typed events against demand, so that a fast producer never buries a slow consumer. It is
// GenStage in Go: https://hexdocs.pm/gen_stage.
//
//	           ask 500              ask 500
//	Producer ◄───────── Processor ◄───────── Consumer
//	   │                 ▲     │               ▲
//	   └── 500 events ───┘     └── 500 events ─┘
//
// Events flow down only as demand has flown up. A consumer asks each of its producers for max demand events, and asks again
// when, after a batch was handled, min demand or fewer of them are outstanding: so one batch is on its way while another is
// being handled, and never are more than max demand events asked for or in hand. No stage waits for a batch to fill up: what is
// delivered is handled at once, in batches of at most max demand - min demand.
//
// # Stages
//
//   - [Producer]: its Demand is told how many events are wanted and returns them, or [Producer.Emit] is called later.
//   - [Processor]: consumes and produces. It asks for as much as it has handled, so one that filters starves nobody.
//   - [Consumer]: handles batches.
//   - [ConsumerSupervisor]: starts one child for each event, and asks for more only as children end.
//
// Each is run by its Run method, once at a time, which a supervisor may call again after it has returned; the rest of the
// methods may be called from any goroutine, before, during and after a Run. A [Dispatcher] decides which consumer gets which event. What
// has been emitted without demand waits in a bounded buffer, and leaves it before anything newer.
//
// # Subscriptions
//
// A consuming stage subscribes to a producing one, before or while they run; each consumer may have many producers and the
// reverse. A subscription ends when either side does, or with [Subscription.Cancel]. Its cancel mode says what that means
// to the consumer: Permanent, it ends for the same reason; Transient, only if the reason is not [Clean]; Temporary, it
// lives on. A consumer opens all its subscriptions anew with each Run; with Resubscribe, it also does so whenever the
// producer runs again. [Subscription.Wait] returns when it is open.
//
// # Under a supervisor
//
// A stage is a child of package supervisor by its RunReady, and two arrangements heal a crash. With default terms a producer
// takes its consumers along: put it first below a supervisor that is RestForOne, and one restart brings all of them back.
// Temporary with Resubscribe is what a service wants: each stage is restarted alone, below OneForOne, and finds the others
// again. A consumer with default terms below OneForOne costs a restart of its own, and may come too early for its producer.
//
// # Manual demand
//
// With the option Manual a stage asks for nothing by itself; [Subscription.Ask] does. It is for consumers that share
// something between producers, such as a number of slots:
//
//	sub, err := runner.Subscribe(puller, stages.SubscribeOptions[Job]{
//		Manual: true, Cancel: stages.Temporary, Resubscribe: true,
//	})
//	sub.Ask(n)                 // n jobs are wanted from this puller
//	puller.Emit(ctx, jobs)     // some come
//	puller.GiveBack(n)         // the rest of the demand cannot be served ...
//	Hooks.OnReturn(sub, n)     // ... which the consumer is told, to ask somebody else
//	OnFree(n)                  // n children have ended: ask for n more
//
// Every event asked for arrives, or is returned through OnReturn: by GiveBack, because the subscription ended (OnCancel is
// called first), or because it was not open when Ask was called (wait for OnSubscribe). Only a new Run of the consumer
// starts from nothing. [Hooks], OnFree and Start are called from the goroutine of Run, one after the other, so they may
// share state without a lock. The example ManualDemand is a worker of two queues in this way.
//
// # Stopping
//
// Run returns when its context is cancelled, and then:
//
//   - a Producer stops at once. Its buffer waits for the next Run; its subscribers are given [supervisor.ErrShutdown].
//   - a Consumer asks its producers to stop delivering, handles everything delivered until they have, and returns.
//   - a Processor does the same and hands on what is asked for; the rest waits in its buffer for the next Run.
//   - a ConsumerSupervisor starts a child for what was delivered, and returns when all children have ended. A Start that
//     would rather hand an event back returns an error; the event comes back through OnGiveUp.
//
// So to drain a pipeline whole, stop its producers: permanent consumers handle everything, each in its turn, and end too.
// [ErrDone] ends a producer in this way once it has nothing more. If a handler fails or panics Run returns at once, the
// batch in hand is lost to this package, and what else was delivered is handled first by the next Run.
//
// # Guarantees
//
//   - Of one subscription at most max demand events are asked for or in hand; of a manual one, what was asked for.
//   - An event is delivered to one consumer (by a [BroadcastDispatcher]: to each), buffered, or discarded by a full buffer
//     and reported: to OnDiscard, and in the log unless that says no.
//   - The events of one subscription are delivered in the order they were emitted in, over restarts of either side too.
//   - The buffer is empty or nobody has demand: what was emitted first is delivered first. GenStage 1.3.2 breaks this after
//     a consumer has left, and when one subscribes late to a broadcast.
//   - Stages take memory for the events asked for and buffered, and in steady state allocate for none.
//
// # Blind spots
//
//   - Events live in memory. Who must not lose any when the process ends keeps them elsewhere until they are settled.
//   - A handler that ignores its context cannot be stopped. Stopping a consumer also waits until its producers have said
//     that they deliver nothing more, so a Demand that blocks holds it up.
//   - Selectors and hashes run in the producer: a slow one slows all consumers. A selector that panics costs its consumer
//     the subscription; a hash that panics ends the producer.
//   - A broadcast is as slow as its slowest consumer, and a partition that stands still finally stops the others.
//   - Consumers of one producer that ask for much starve those that ask for little: give them the same max demand.
//
// # When not to use a stage
//
// Between two steps that run one after the other at the same pace, call a function. A stage is for a boundary where the
// pace, the number of workers or the fate differs: it costs two wake-ups a batch, and a reader's attention.
package stages
