package stages

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// vectors reads testdata/name: what the original answered to recorded sequences of operations.
func vectors[V any](t *testing.T, name string) []V {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var all []V
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no vectors", name)
	}
	return all
}

// Case stage-split-vectors.
func TestDemandVectors(t *testing.T) {
	type batchWant struct {
		Size     int
		AskAfter int `json:"ask_after"`
	}
	type vector struct {
		Max, Min, Events int
		PendingDemand    int `json:"pending_demand"`
		Batches          []batchWant
		NewPending       int `json:"new_pending"`
	}
	for i, v := range vectors[vector](t, "split_batches.json") {
		d := demand{max: v.Max, min: v.Min, pending: v.PendingDemand}
		var got []batchWant
		for left := v.Events; left > 0; {
			size, ask := d.receive(left)
			left -= size
			got = append(got, batchWant{size, ask})
		}
		if diff := gocmp.Diff(v.Batches, got); diff != "" {
			t.Errorf("vector %d: batches (-want +got):\n%s", i, diff)
		}
		if d.pending != v.NewPending {
			t.Errorf("vector %d: pending = %d, want %d", i, d.pending, v.NewPending)
		}
	}
}

// Case stage-buffer-vectors.
func TestBufferVectors(t *testing.T) {
	type op struct {
		Op        string
		Events    []int
		Discarded int
		Count     int
		Got       []int
		Unmet     int
		SizeAfter int `json:"size_after"`
	}
	type vector struct {
		Capacity int
		Keep     string
		Ops      []op
	}
	for i, v := range vectors[vector](t, "buffer.json") {
		b := buffer[int]{limit: v.Capacity}
		if v.Capacity < 0 {
			b.limit = Unlimited
		}
		if v.Keep == "first" {
			b.keep = KeepFirst
		}
		for j, want := range v.Ops {
			got := want
			switch want.Op {
			case "store":
				got.Discarded = b.store(want.Events)
			case "take":
				got.Got = append([]int{}, take(&b, want.Count)...)
				got.Unmet = want.Count - len(got.Got)
			default:
				t.Fatalf("vector %d: unknown op %q", i, want.Op)
			}
			got.SizeAfter = b.size
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("vector %d, op %d (-want +got):\n%s", i, j, diff)
			}
		}
	}
}

func take(b *buffer[int], n int) (events []int) {
	for n > len(events) && b.size > 0 {
		front := b.front(n - len(events))
		events = append(events, front...)
		b.drop(len(front))
	}
	return events
}

// dispatcherOp is one operation of a dispatcher's vector, and what came of it.
type dispatcherOp struct {
	Op        string
	Consumer  string
	Count     int
	Events    []int
	Upstream  int
	Delivered []delivered
	Leftover  []int
	SelfReask []delivered `json:"self_reask"`
}

// delivered is [consumer, [events]], or [consumer, n].
type delivered struct {
	Consumer string
	Events   []int
	N        int
}

func (d *delivered) UnmarshalJSON(data []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if err := json.Unmarshal(pair[0], &d.Consumer); err != nil {
		return err
	}
	if json.Unmarshal(pair[1], &d.N) == nil {
		return nil
	}
	return json.Unmarshal(pair[1], &d.Events)
}

type dispatcherVector struct {
	Ops        []dispatcherOp
	Selectors  map[string]string
	Partitions int
	Hash       string
}

// recorder is the Outbox of a dispatcher that is tested on its own.
type recorder struct {
	names     map[ConsumerID]string
	delivered []delivered
	reasked   []delivered
	returned  []delivered
}

func (r *recorder) Deliver(c ConsumerID, events []int) {
	r.delivered = append(r.delivered, delivered{Consumer: r.names[c], Events: slices.Clone(events)})
}

func (r *recorder) Reask(c ConsumerID, n int) {
	r.reasked = append(r.reasked, delivered{Consumer: r.names[c], N: n})
}

func (r *recorder) Drop(ConsumerID, error) {}

func (r *recorder) Return(c ConsumerID, n int) {
	r.returned = append(r.returned, delivered{Consumer: r.names[c], N: n})
}

// replay does a vector's operations and compares what came of each. A vector's upstream is what the
// dispatcher waits for beyond what the producer owes; arrived says what a dispatch takes off the
// latter, given the events, those taken, and what Waiting fell by. sorted: the order of deliveries
// to different consumers is of no importance.
func replay(t rapid.TB, d Dispatcher[int], options map[string]SubscribeOptions[int], ops []dispatcherOp,
	arrived func(events, taken, fell int) int, sorted bool,
) {
	t.Helper()
	out := &recorder{names: map[ConsumerID]string{}}
	ids := map[string]ConsumerID{}
	owed := 0
	for j, want := range ops {
		got := dispatcherOp{Op: want.Op, Consumer: want.Consumer, Count: want.Count, Events: want.Events}
		out.delivered, out.reasked = nil, nil
		switch want.Op {
		case "subscribe":
			id := ConsumerID(len(out.names) + 1)
			ids[want.Consumer], out.names[id] = id, want.Consumer
			if err := d.Subscribe(id, options[want.Consumer]); err != nil {
				t.Fatalf("op %d: %v", j, err)
			}
		case "ask":
			d.Ask(ids[want.Consumer], want.Count, out)
		case "cancel":
			d.Cancel(ids[want.Consumer])
		case "dispatch":
			waiting := d.Waiting()
			taken := d.Dispatch(want.Events, out)
			got.Leftover = want.Events[taken:]
			owed = max(owed-arrived(len(want.Events), taken, waiting-d.Waiting()), 0)
		default:
			t.Fatalf("unknown op %q", want.Op)
		}
		got.Upstream = max(d.Waiting()-owed, 0)
		owed += got.Upstream
		got.Delivered, got.SelfReask = out.delivered, out.reasked
		if sorted {
			slices.SortStableFunc(got.Delivered, func(a, b delivered) int { return cmp.Compare(a.Consumer, b.Consumer) })
		}
		if diff := gocmp.Diff(normal(want), normal(got)); diff != "" {
			t.Fatalf("op %d (-want +got):\n%s", j, diff)
		}
	}
}

// normal makes empty lists nil.
func normal(op dispatcherOp) dispatcherOp {
	op.Delivered, op.SelfReask = slices.Concat(op.Delivered), slices.Concat(op.SelfReask)
	for i := range op.Delivered {
		op.Delivered[i].Events = slices.Concat(op.Delivered[i].Events)
	}
	op.Leftover, op.Events = slices.Concat(op.Leftover), slices.Concat(op.Events)
	return op
}

func TestDemandDispatcherVectors(t *testing.T) {
	for i, v := range vectors[dispatcherVector](t, "demand_dispatcher.json") {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			arrived := func(events, _, _ int) int { return events }
			replay(t, new(DemandDispatcher[int]), nil, v.Ops, arrived, false)
		})
	}
}

// Case bc-vectors.
func TestBroadcastDispatcherVectors(t *testing.T) {
	for i, v := range vectors[dispatcherVector](t, "broadcast_dispatcher.json") {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			options := map[string]SubscribeOptions[int]{}
			for consumer, selector := range v.Selectors {
				if selector != "even" {
					t.Fatalf("unknown selector %q", selector)
				}
				options[consumer] = SubscribeOptions[int]{Selector: func(event int) bool { return event%2 == 0 }}
			}
			// The original still counts on what was buffered; the stage here would have given it
			// back by now.
			arrived := func(_, taken, _ int) int { return taken }
			replay(t, new(BroadcastDispatcher[int]), options, v.Ops, arrived, true)
		})
	}
}

// Case pd-vectors. The original drops the queue of a consumer that leaves, which is what OnOrphans
// is for here.
func TestPartitionDispatcherVectors(t *testing.T) {
	for i, v := range vectors[dispatcherVector](t, "partition_dispatcher.json") {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			if v.Hash != "event mod 3; event mod 7 == 0 -> none" {
				t.Fatalf("unknown hash %q", v.Hash)
			}
			d, err := NewPartitionDispatcher(PartitionConfig[int]{
				Partitions: v.Partitions,
				Hash: func(event int) (int, int, bool) {
					return event, event % 3, event%7 != 0
				},
				OnOrphans: func(int, []int) {},
			})
			if err != nil {
				t.Fatal(err)
			}
			options := map[string]SubscribeOptions[int]{"a": {Partition: 0}, "b": {Partition: 1}, "c": {Partition: 2}}
			// The original does not ask again for what was dropped; the stage here does.
			arrived := func(_, _, fell int) int { return fell }
			replay(t, d, options, v.Ops, arrived, true)
		})
	}
}
