package main

import (
	"errors"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

func TestTracker(t *testing.T) {
	event := func(id string, state millhand.State) millhand.Event {
		return millhand.Event{Ref: millhand.Ref{ID: id}, State: state}
	}
	for _, tt := range []struct {
		name   string
		events []millhand.Event
		want   error
	}{
		{"each once", []millhand.Event{event("a", millhand.Retrying), event("b", millhand.Succeeded), event("a", millhand.Succeeded)}, nil},
		{"one missing", []millhand.Event{event("a", millhand.Retrying), event("b", millhand.Succeeded)}, errMissing},
		{"one twice", []millhand.Event{event("a", millhand.Succeeded), event("b", millhand.Succeeded), event("b", millhand.Dead)}, errAgain},
		{"one that nobody enqueued", []millhand.Event{event("a", millhand.Succeeded), event("c", millhand.Succeeded)}, errAgain},
	} {
		tr := &tracker{next: 2, enqueued: 2, ends: map[string]int{"a": 0, "b": 0}}
		for _, e := range tt.events {
			tr.note(e)
		}
		tr.moved = time.Now().Add(-2 * patience)
		if err := tr.awaitEnds(t.Context()); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}
