// Package stream makes the streams of a namespace: whatever kind of server, account or
// cluster they are made on, they can do what the rest relies on, or the error says in one
// line what is to be changed.
package stream
