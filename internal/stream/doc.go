// Package stream is JetStream itself, as the queues and the registry of a namespace need it. It
// knows no jobs. A [Client] is over one connection, and shared by all that speak JetStream there:
//
//   - [Client.Ensure] makes a stream where it is missing, on whatever kind of server, account or
//     cluster, so that it can do what the rest relies on. Else the error says in one line what to
//     change.
//   - [Client.Publish], [Client.Send] and [Client.Confirm] write on conditions, with any number of
//     writes in flight: once, without waiting, and until there is an answer. A [Batcher] has the
//     stream confirm many writes at once.
//   - [Client.Last], [Client.Next] and [Client.Get] read what the leader of a stream knows, since
//     decisions hang on it. A replica may lag.
//   - A [Bucket] is a key-value bucket, and a [Watch] keeps up with some of its keys.
//
// A write whose answer was lost may be stored or not. What is written again has to have a
// condition, or a message id, that tells.
package stream
