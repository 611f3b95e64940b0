package stages

// ConsumerID names one subscription at a producer for as long as it lasts.
type ConsumerID uint64

// A Dispatcher decides which consumer gets which event. It is pure accounting: the stage calls it
// from one goroutine and carries out what it puts into the Outbox; it must not block and must not
// call the stage. The stage itself keeps account of what the producer owes, and asks it for what
// Waiting exceeds that by.
//
// DemandDispatcher, BroadcastDispatcher and PartitionDispatcher are the ones supplied; others may
// be written.
type Dispatcher[T any] interface {
	Demands[T]

	// Subscribe adds a consumer without demand. An error refuses it; the producer lives on.
	Subscribe(c ConsumerID, o SubscribeOptions[T]) error

	// Dispatch delivers events, in order, as far as there is demand, and returns how many were
	// taken. The rest is a suffix, which the stage buffers and offers again before anything newer.
	Dispatch(events []T, out Outbox[T]) (taken int)
}

// Demands is the half of a Dispatcher that counts.
type Demands[T any] interface {
	// Ask adds demand of n >= 1 events.
	Ask(c ConsumerID, n int, out Outbox[T])

	// Cancel removes a consumer and its demand.
	Cancel(c ConsumerID)

	// Return takes back demand of n <= Waiting events, which the producer cannot serve, and names
	// whose it was.
	Return(n int, out Outbox[T])

	// Waiting returns how many events Dispatch would take now.
	Waiting() int
}

// A Holder is a Dispatcher that may take events it cannot deliver yet. A producer completes only
// when none are held.
type Holder[T any] interface {
	Held() int
	Release() []T // gives the held events up when Run ends: they are buffered for the next Run's dispatcher
}

// An Outbox receives what a dispatcher decides.
type Outbox[T any] interface {
	// Deliver hands events to a consumer, as one delivery. The events are copied; none are no
	// delivery.
	Deliver(c ConsumerID, events []T)

	// Reask asks on behalf of a consumer, after the present call, for n events it was counted for
	// but did not get.
	Reask(c ConsumerID, n int)

	// Drop ends a consumer's subscription for a reason, after the present call.
	Drop(c ConsumerID, reason error)

	// Return tells a consumer that n events it asked for will not come.
	Return(c ConsumerID, n int)
}
