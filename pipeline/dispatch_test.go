package pipeline

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/stages"
)

// delivered is an outbox that notes which numbers were delivered.
type delivered struct {
	stages.Outbox[*Message[int]]
	values []int
}

func (d *delivered) Deliver(_ stages.ConsumerID, events []*Message[int]) {
	for _, m := range events {
		d.values = append(d.values, m.Value)
	}
}

func keyed(value int, key string) *Message[int] {
	m := &Message[int]{Value: value, Key: key}
	m.envelope.key = key
	return m
}

func TestByKey(t *testing.T) {
	d := &byKey[int]{ahead: 2, keys: map[string]*keyState[int]{}}
	out := &delivered{}
	for id := range stages.ConsumerID(2) {
		if err := d.Subscribe(id, stages.SubscribeOptions[*Message[int]]{}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, waiting, held int, values ...int) {
		t.Helper()
		if diff := cmp.Diff(values, out.values); diff != "" {
			t.Errorf("%s: delivered (-want +got):\n%s", what, diff)
		}
		if d.Waiting() != waiting || d.Held() != held {
			t.Errorf("%s: %d are wanted and %d held, want %d and %d", what, d.Waiting(), d.Held(), waiting, held)
		}
		out.values = nil
	}
	messages := []*Message[int]{keyed(1, "a"), keyed(2, "a"), keyed(3, "b"), keyed(4, "c"), keyed(5, ""), keyed(6, "d"), keyed(7, "e")}
	if taken := d.Dispatch(messages, out); taken != 5 {
		t.Errorf("%d were taken", taken) // four are ahead, and 2 waits for 1
	}
	want("nobody asks", 0, 5)
	d.Ask(0, 1, out)
	want("one asks", 1, 3, 1)
	if len(messages[0].behind) != 1 || messages[0].behind[0] != messages[1] {
		t.Errorf("%d go with the first", len(messages[0].behind))
	}
	d.Ask(1, 1, out)
	want("another asks", 2, 2, 3)
	d.hold("a")
	if !messages[1].of.blocked.Load() {
		t.Error("the processor that has messages of the key is not told that it is held")
	}
	d.returned(messages[1:2], out)
	d.Ask(0, 1, out)
	want("a key is held", 3, 2, 4)
	d.unhold("a", out)
	want("and goes on behind those that are ahead", 2, 2)
	d.hold("a")
	d.Ask(0, 2, out)
	want("one that is ahead is held", 4, 1, 5)
	d.unhold("a", out)
	want("all have gone", 4, 0, 2)
	d.Cancel(0)
	want("a processor has left", 2, 0)
}
