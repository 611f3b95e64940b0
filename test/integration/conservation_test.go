package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

// conserved holds a namespace to its law once the queues have emptied: of the jobs that
// were enqueued, each has ended exactly once, with its dead record if it is dead, and
// nothing is left of them in a queue. It returns their events, oldest first.
func conserved(t *testing.T, url string, refs []millhand.Ref) map[millhand.Ref][]millhand.Event {
	t.Helper()
	nc := connect(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	queues := make(map[string]bool)
	for _, r := range refs {
		queues[r.Queue] = true
	}
	for q := range queues {
		awaitEmpty(t, js, q)
	}
	events := allEvents(t, nc, js)
	for _, r := range refs {
		final := slices.DeleteFunc(slices.Clone(events[r]), func(e millhand.Event) bool { return !e.State.Final() })
		if len(final) != 1 {
			t.Errorf("job %s of type %s has %d final events, want 1: %s", r.ID, r.Type, len(final), kinds(events[r]))
			continue
		}
		if last := events[r][len(events[r])-1]; !last.State.Final() {
			t.Errorf("job %s goes on after its end: %s", r.ID, kinds(events[r]))
		}
		if final[0].State == millhand.Dead {
			wantDeadRecord(t, js, r)
		}
	}
	return events
}

// awaitEmpty waits until a queue's stream holds no job any more.
func awaitEmpty(t *testing.T, js jetstream.JetStream, queue string) {
	t.Helper()
	var left uint64
	defer func() {
		if left > 0 {
			t.Logf("queue %s: %d jobs left\n%s", queue, left, waiting(t, js, queue))
		}
	}()
	until(t, "queue "+queue+" empties", func() bool {
		st, err := js.Stream(t.Context(), "millhand-queue-"+queue)
		if err != nil {
			return false
		}
		info, err := st.Info(t.Context(), jetstream.WithSubjectFilter("millhand."+queue+".*.*.*"))
		if err != nil {
			return false
		}
		left = 0
		for subject, n := range info.State.Subjects {
			if !strings.HasPrefix(subject, "millhand."+queue+".once.") { // which is a hold and no job
				left += n
			}
		}
		return left == 0
	})
}

// waiting describes what is left in a queue, and how its consumers see it.
func waiting(t *testing.T, js jetstream.JetStream, queue string) string {
	t.Helper()
	st, err := js.Stream(t.Context(), "millhand-queue-"+queue)
	if err != nil {
		return err.Error()
	}
	info, err := st.Info(t.Context(), jetstream.WithSubjectFilter("millhand."+queue+".>"))
	if err != nil {
		return err.Error()
	}
	text := slices.Sorted(maps.Keys(info.State.Subjects))
	for c := range st.ListConsumers(t.Context()).Info() {
		text = append(text, fmt.Sprintf("consumer %s: last delivered %d of %d, acknowledged up to %d; %d pending, %d not acknowledged, %d redelivered",
			c.Name, c.Delivered.Stream, info.State.LastSeq, c.AckFloor.Stream, c.NumPending, c.NumAckPending, c.NumRedelivered))
	}
	return strings.Join(text, "\n")
}

// allEvents reads all there is in the events stream.
func allEvents(t *testing.T, nc *nats.Conn, js jetstream.JetStream) map[millhand.Ref][]millhand.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	st, err := js.Stream(ctx, "millhand-events")
	if err != nil {
		t.Fatal(err)
	}
	info, err := st.Info(ctx, jetstream.WithSubjectFilter("millhand.event.>"))
	if err != nil {
		t.Fatal(err)
	}
	left := uint64(0)
	for subject, n := range info.State.Subjects {
		if subject != "millhand.event.~.~.~" { // by which workers see whether the stream stores, and which they remove
			left += n
		}
	}
	c, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		t.Fatal(err)
	}
	slow := make(chan string, 1)
	late := time.AfterFunc(patience*9/10, func() { slow <- readers(ctx, st) }) // while they are there
	defer late.Stop()
	events, last := make(map[millhand.Ref][]millhand.Event), time.Now()
	for e, err := range c.Events(ctx, time.Unix(0, 1)) {
		if left == 0 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		events[e.Ref], last = append(events[e.Ref], e), time.Now()
		if left--; left == 0 {
			break
		}
	}
	if left > 0 {
		t.Fatalf("%d events are missing, the last one came %v ago: %s", left, time.Since(last), <-slow)
	}
	return events
}

// readers describes how far those have come who read a stream.
func readers(ctx context.Context, st jetstream.Stream) string {
	info, err := st.Info(ctx)
	if err != nil {
		return err.Error()
	}
	text := []string{fmt.Sprintf("%+v", info.State)}
	if info.Cluster != nil {
		text = append(text, "leader "+info.Cluster.Leader)
		for _, r := range info.Cluster.Replicas {
			text = append(text, fmt.Sprintf("replica %+v", *r))
		}
	}
	for c := range st.ListConsumers(ctx).Info() {
		on := ""
		if c.Cluster != nil {
			on = c.Cluster.Leader
		}
		text = append(text, fmt.Sprintf("consumer %s on %s since %s: delivered %d of %d, %d pending, %d pulls wait", c.Name, on, c.Created, c.Delivered.Consumer, c.Delivered.Stream, c.NumPending, c.NumWaiting))
	}
	return strings.Join(text, "\n")
}

func wantDeadRecord(t *testing.T, js jetstream.JetStream, r millhand.Ref) {
	t.Helper()
	st, err := js.Stream(t.Context(), "millhand-dead")
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.GetLastMsgForSubject(t.Context(), "millhand.dead."+r.Queue+"."+r.Type+"."+r.ID)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		t.Errorf("dead job %s has no record", r.ID)
	case err != nil:
		t.Fatal(err)
	case m.Header.Get("Millhand-Life") != r.Life:
		t.Errorf("dead job %s: record of life %q, want %q", r.ID, m.Header.Get("Millhand-Life"), r.Life)
	}
}

// kinds lists events for an error's text.
func kinds(events []millhand.Event) (list []string) {
	for _, e := range events {
		list = append(list, string(e.Kind))
	}
	return list
}
