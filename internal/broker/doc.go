// Package broker embeds a nats-server with JetStream in the worker's process, so that
// one binary is a complete installation.
//
// A [Broker] owns its store directory: JetStream does not lock it, and two servers on one
// directory both accept writes and corrupt each other's streams. The lock lives as long
// as the Broker, across restarts of the server inside it, and ends with the process.
//
// It is one server for one host. For a cluster, run nats-server itself and name it with
// the worker's --server flag.
package broker
