// Package registry is everything that workers agree on through a key-value bucket: who is
// there and runs what, how many jobs of a kind may run at once or start in a period, what is
// paused. It knows no queues and no jobs but by name: an [Agent] speaks for a worker, and
// moves its [Valve]s.
//
// A limit is divided among the nodes that serve what it limits. What a node may use is its
// grant, one key with a TTL that it refreshes, and grows by a write which the broker refuses
// if any grant or the limit changed since it was read. Nothing per job touches the registry.
// docs/quotas.md has the protocol and why it is safe, docs/wire.md the keys.
package registry
