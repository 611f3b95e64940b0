package stages

import (
	"math"
	"slices"
)

// Keep says which events stay when a buffer is full.
type Keep uint8

// What a full buffer keeps.
const (
	KeepLast  Keep = iota // discard the oldest buffered events
	KeepFirst             // discard the newly emitted events
)

// DefaultBuffer is the number of events a producer keeps for lack of demand.
const DefaultBuffer = 10_000

// Unlimited is a buffer that never discards: memory is its only limit.
const Unlimited = math.MaxInt

// buffer holds what was emitted without demand: a ring that grows up to its limit and keeps its
// memory.
type buffer[T any] struct {
	limit int // events
	keep  Keep
	ring  []T
	head  int // index of the oldest event
	size  int
	taken uint64 // events that have left, to a consumer or discarded
}

// store appends events and returns how many events were discarded, old or new ones according to
// keep.
func (b *buffer[T]) store(events []T) (discarded int) {
	discarded = max(b.size+len(events)-b.limit, 0)
	switch {
	case discarded == 0:
	case b.keep == KeepFirst:
		events = events[:len(events)-discarded]
	default:
		old := min(discarded, b.size)
		b.drop(old)
		events = events[discarded-old:]
	}
	b.grow(len(events))
	tail := (b.head + b.size) % max(len(b.ring), 1)
	n := copy(b.ring[tail:], events)
	copy(b.ring, events[n:])
	b.size += len(events)
	return discarded
}

// front returns up to n of the oldest events, in one piece. They stay buffered.
func (b *buffer[T]) front(n int) []T {
	n = min(n, b.size)
	if b.head+n > len(b.ring) {
		b.unwrap()
	}
	return b.ring[b.head : b.head+n]
}

// unwrap moves the oldest event to the beginning of the ring. It is needed at most once a round.
func (b *buffer[T]) unwrap() {
	slices.Reverse(b.ring[:b.head])
	slices.Reverse(b.ring[b.head:])
	slices.Reverse(b.ring)
	b.head = 0
}

// all returns a copy of the buffered events. They stay buffered.
func (b *buffer[T]) all() []T {
	end := min(b.head+b.size, len(b.ring))
	return slices.Concat(b.ring[b.head:end], b.ring[:b.head+b.size-end])
}

// drop removes the n oldest events.
func (b *buffer[T]) drop(n int) {
	if n == 0 {
		return
	}
	clear(b.front(n)) // the events are the consumer's now; do not keep them alive
	b.head = (b.head + n) % len(b.ring)
	b.size -= n
	b.taken += uint64(n)
}

// grow makes room for n more events.
func (b *buffer[T]) grow(n int) {
	if b.size+n <= len(b.ring) {
		return
	}
	ring := make([]T, max(b.size+n, 2*len(b.ring)))
	copy(ring, b.front(b.size))
	b.ring, b.head = ring, 0
}
