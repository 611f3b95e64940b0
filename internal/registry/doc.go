// Package registry is everything that workers agree on through a key-value bucket: who is
// there and runs what, how many jobs of a kind may run at once or start in a period, what is
// paused. It knows no queues and no jobs but by name: an [Agent] speaks for a worker, and
// moves its limiters.
//
// A limit is divided among the nodes that serve what it limits. What a node may use is its
// grant, one key with a TTL that it refreshes, and grows by a write which the broker refuses
// if any grant or the limit changed since it was read. Nothing per job touches the registry.
// docs/quotas.md has the protocol and why it is safe, docs/wire.md the keys.
//
// Of Elixir's Registry this is what a system of jobs needs. A job's id is the unique key, which
// the queue's stream guards; its owner is the worker that runs it, and is found by asking;
// watchers are told of deaths as well, which Registry's are not. There are no keys with many
// owners, no dispatch by key, and no values but those that a node writes of itself: the
// conformance cases reg-duplicate, reg-dispatch, reg-update-value and reg-unregister have
// nothing to hold for. A quota is that of a type, not the book's count of whatever runs.
package registry
