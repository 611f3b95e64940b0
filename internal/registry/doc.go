// Package registry is what workers agree on through a key-value bucket: which workers there are
// and what they run, how many jobs may run at once or start in a period, and which queues are
// paused. It knows queues and jobs by name only. An [Agent] speaks for a worker and sets its
// limiters; a [Store] is for everybody else.
//
// A limit is divided among the nodes that serve what it limits. What a node may use is its
// grant: one key with a TTL that the node refreshes. It grows by a write which the broker refuses
// if any grant or the limit changed since it was read. Nothing per job touches the registry.
// docs/quotas.md has the protocol and why it is safe, docs/wire.md the keys.
//
// The listing:
//   - agent_*: the agent's tree, its state, the settings it follows, and its rounds
//   - grant_*: one node's grant of one limit: its states, what it is to hold, reads, writes, hints.
//     A setting becomes a grant in takeUp, and a grant tells its [slots.Limiter] what may start
//   - setting_*: limits, keys and pauses: their values, who may change them, and listing them
//   - bulk: how far an enqueue of many lines has come
//   - node_*: presence, and asking nodes what they run
package registry
