// Package stages exchanges typed events against demand, so that a fast producer never buries a slow
// consumer. It is GenStage in Go: https://hexdocs.pm/gen_stage.
//
//	           ask 500              ask 500
//	Producer ◄───────── Processor ◄───────── Consumer
//	   │                 ▲     │               ▲
//	   └── 500 events ───┘     └── 500 events ─┘
//
// Events flow down only as demand has flowed up. A consumer asks each of its producers for max demand
// events, and asks again when, after a batch was handled, min demand or fewer of them are outstanding.
// So one batch is on its way while another is being handled, and no more than max demand events are
// ever asked for or in hand. No stage waits for a batch to fill up: what is delivered is handled at
// once, in batches of at most max demand - min demand.
//
// # Contents
//
// Used by the worker, on the path of every job:
//
//   - [Producer], with Emit and GiveBack: a puller, which emits the jobs it was asked for.
//   - [ConsumerSupervisor], with Start and [Slot]: a runner, which starts one child for each job.
//   - [Subscription.Ask] of a manual subscription, and [Hooks]: the worker's slots ask for jobs.
//   - [DemandDispatcher]: the default, which gives an event to the consumer with the most demand.
//
// For programs that are made of stages, such as examples/scraper. The recorded cases of GenStage, in
// testdata, hold for all of them:
//
//   - [Consumer] handles batches, [Processor] turns batches into others, [FromSeq] and [Stream] are
//     the two ends of a pipeline as Go sequences.
//   - [BroadcastDispatcher] gives every event to every consumer, [PartitionDispatcher] to the consumer
//     of its partition. [Dispatcher] is the interface for one of your own.
//   - Demand that a stage keeps up by itself, by MaxDemand and MinDemand of [SubscribeOptions].
//   - Buffers, Pause and Resume, AfterBuffer and Tell, of every producing stage; Post, of a Processor.
//   - [Subscription.Wait], Cancel and Resubscribe.
//
// To read the code, begin with producer.go and consumer.go. A producing stage is an outlet, and its
// mail is made of requests (outlet_request.go); a consuming stage is an intake, and its mail is made of
// notices (intake_notice.go). A subscription connects the two.
//
// # Stages
//
// Each stage is run by its Run method, which a supervisor may call again after it has returned. While
// one Run is in progress another returns [supervisor.ErrAlreadyStarted]. The other methods may be
// called from any goroutine, before, during and after a Run. A [Dispatcher] decides which consumer
// gets which event. What was emitted without demand waits in a bounded buffer, and leaves it before
// anything newer.
//
// # Subscriptions
//
// A consuming stage subscribes to a producing one, before or while they run; each consumer may have
// many producers and each producer many consumers. A subscription ends when either side does, or with
// [Subscription.Cancel]. Its cancel mode says what that means for the consumer: a Permanent one makes
// it end for the same reason, a Transient one only if the reason is not [Clean], and with a Temporary
// one it lives on. A consumer opens all its subscriptions again with each Run. With Resubscribe, it
// also does so whenever the producer runs again. [Subscription.Wait] returns when it is open.
//
// # Below a supervisor
//
// A stage is a child of package supervisor by its RunReady: a producing stage is ready when it can be
// subscribed to, a consuming one when it has asked for its subscriptions. Two arrangements heal a
// crash.
//
// On default terms a producer that ends takes its consumers along. Put it before them below a
// supervisor that is RestForOne: one restart brings all of them back. The example Supervised does that.
//
// A service rather wants Temporary and Resubscribe: each stage is restarted alone, below OneForOne, and
// finds the others again. What does not work is a consumer on default terms below OneForOne: it costs a
// restart of its own, and may come back before its producer.
//
// A program that supervises nothing starts a stage by [supervisor.Start].
//
// # Manual demand
//
// With the option Manual a stage asks for nothing by itself; [Subscription.Ask] does. It is for
// consumers that share something between producers, such as a number of slots:
//
//	sub, err := runner.Subscribe(puller, stages.SubscribeOptions[Job]{
//		Manual: true, Cancel: stages.Temporary, Resubscribe: true,
//	})
//	sub.Ask(n)                 // n jobs are wanted from this puller
//	puller.Emit(ctx, jobs)     // some come
//	puller.GiveBack(n)         // the rest of the demand cannot be served ...
//	Hooks.OnReturn(sub, n)     // ... which the consumer is told, to ask another puller
//	OnFree(n)                  // n children have ended: ask for n more
//
// Every event asked for arrives, or is returned through OnReturn: by GiveBack, because the subscription
// ended (OnCancel is called first), or because it was not open when Ask was called (wait for
// OnSubscribe). Only a new Run of the consumer starts from nothing. [Hooks], OnFree and Start are
// called from the goroutine of Run, one after the other, so they may share state without a lock. The
// example ManualDemand is a worker of two queues in this way.
//
// # Stopping
//
// Run returns when its context is cancelled, and then:
//
//   - A Producer stops at once. Its buffer waits for the next Run, and its subscribers are given
//     [supervisor.ErrShutdown].
//   - A Consumer asks its producers to stop delivering, handles everything delivered until they have,
//     and returns.
//   - A Processor does the same and hands on what is asked for. The rest waits in its buffer for the
//     next Run.
//   - A ConsumerSupervisor starts a child for what was delivered, and returns when all children have
//     ended. A Start that would rather hand an event back returns an error, and the event comes back
//     through OnGiveUp.
//
// So to drain a whole pipeline, stop its producers: permanent consumers handle everything, each in its
// turn, and end too. [ErrDone] ends a producer in this way once it has nothing more. If a handler fails
// or panics Run returns at once. The batch in hand is lost to this package, and what else was delivered
// is handled first by the next Run.
//
// # Guarantees
//
//   - Of one subscription at most max demand events are asked for or in hand; of a manual one, what was
//     asked for.
//   - An event is delivered to one consumer (by a [BroadcastDispatcher]: to each), buffered, or
//     discarded by a full buffer and reported: to OnDiscard, and in the log unless that says no.
//   - The events of one subscription are delivered in the order they were emitted in, across restarts
//     of either side.
//   - The slot of a child that runs inside [Slot.Run], or by Run of the configuration, comes back
//     whatever the child does.
//   - The buffer is empty or nobody has demand: what was emitted first is delivered first. GenStage
//     1.3.2 breaks this after a consumer has left, and when one subscribes late to a broadcast.
//   - Stages take memory for the events asked for and buffered, and in steady state allocate for none.
//
// # Blind spots
//
//   - Events live in memory. A program that must not lose any when it ends keeps them elsewhere until
//     they are settled.
//   - A handler that ignores its context cannot be stopped. Stopping a consumer also waits until its
//     producers have said that they deliver nothing more, so a Demand that blocks holds it up.
//   - Selectors and hashes run in the producer: a slow one slows all consumers. A selector that panics
//     costs its consumer the subscription; a hash that panics ends the producer.
//   - A broadcast is as slow as its slowest consumer, and a partition that stands still finally stops
//     the others.
//   - Consumers that ask for much starve those of the same producer that ask for little: give them the
//     same max demand.
//
// # When not to use a stage
//
// Between two steps that run one after the other at the same pace, call a function. A stage is for a
// boundary where the pace, the number of workers or the fate differs: it costs two wake-ups a batch,
// and a reader's attention.
package stages
