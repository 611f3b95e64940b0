package explain_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/view"
)

var now = time.Date(2026, 11, 29, 14, 2, 11, 0, time.UTC)

// readyCase is a job that has been ready for a minute, with one worker that could take it.
func readyCase(t rapid.TB) *view.Case {
	t.Helper()
	p, err := job.PlaceOf("default", "import", "j")
	if err != nil {
		t.Fatal(err)
	}
	c := &view.Case{
		Place: p, At: now, Surveyed: true, Before: view.Counted(0, view.Exact, now), Heavier: view.Uncounted(),
		Message: &queue.Message{
			Record: job.Record{Queue: "default", Type: "import", ID: "j", Life: "l1", Attempt: 1, EnqueuedAt: now.Add(-time.Minute)},
			Seq:    100, Stored: now.Add(-time.Minute),
		},
		Consumer: &jetstream.ConsumerInfo{Config: jetstream.ConsumerConfig{AckWait: 30 * time.Second}, Delivered: jetstream.SequenceInfo{Stream: 90}, NumPending: 1},
	}
	c.Registry.Nodes = []registry.Node{node("web-1", "import", 2)}
	c.Located.Free = map[string]int{}
	return c
}

func node(id, typ string, free int) registry.Node {
	return registry.Node{
		ID: id, State: registry.Working, Queues: []string{"default"}, Types: []string{typ}, Concurrency: 4, SlotsFree: &free,
		ByType: map[string]registry.Load{}, Seen: now.Add(-time.Second), Ends: now.Add(9 * time.Second),
	}
}

func quota(kind, name string, limit int, held map[string]int) registry.Usage {
	u := registry.Usage{Key: slots.Key{Kind: kind, Name: name}, Limit: registry.Limit{Jobs: limit}}
	for _, n := range slices.Sorted(maps.Keys(held)) {
		u.Grants = append(u.Grants, registry.NodeGrant{Node: n, Grant: registry.Grant{Held: held[n], Used: held[n]}, Ends: now.Add(5 * time.Second)})
	}
	return u
}

func busyWith(n *registry.Node, of string, jobs int) {
	n.ByType[of] = registry.Load{Run: jobs, Hand: jobs}
}

// What is changed of a case, and the reasons that it has then.
func TestReasonsOfFacts(t *testing.T) {
	event := func(c *view.Case, k job.EventKind) {
		c.Event = &queue.Event{Kind: k, Life: "l1", Seq: 100, Time: now.Add(-time.Second), Attempt: 1}
	}
	later := func(c *view.Case, in time.Duration) { c.Message.RunAt = now.Add(in) }
	handedOut := func(c *view.Case) { c.Consumer.Delivered.Stream = 100 }
	for name, tt := range map[string]struct {
		change func(c *view.Case)
		want   string
	}{
		"nothing keeps it, and it is old":    {func(*view.Case) {}, "unexplained"},
		"nothing keeps it, and it is young":  {func(c *view.Case) { c.Message.Stored = now.Add(-time.Second) }, "(about_to_start)"},
		"the registry does not answer":       {func(c *view.Case) { c.Surveyed = false }, "unexplained"},
		"its message is gone":                {func(c *view.Case) { c.Message = nil }, "(not_found)"},
		"gone, and its last event is no end": {func(c *view.Case) { c.Message = nil; event(c, job.EventRetrying) }, "(not_found)"},
		"succeeded":                          {func(c *view.Case) { c.Message = nil; event(c, job.EventSucceeded) }, "(succeeded)"},
		"succeeded, and not acknowledged":    {func(c *view.Case) { event(c, job.EventSucceeded) }, "(succeeded)"},
		"a life before succeeded":            {func(c *view.Case) { event(c, job.EventSucceeded); c.Event.Seq = 50 }, "unexplained"},
		"cancelled":                          {func(c *view.Case) { c.Message = nil; event(c, job.EventCancelled) }, "(cancelled)"},
		"dead, by its event":                 {func(c *view.Case) { c.Message = nil; event(c, job.EventDead) }, "(dead)"},
		"dead, by its record alone":          {func(c *view.Case) { c.Message = nil; c.Dead = &queue.DeadJob{DiedAt: now} }, "(dead)"},
		"later":                              {func(c *view.Case) { later(c, time.Hour) }, "not_due"},
		"due for a moment":                   {func(c *view.Case) { later(c, -4*time.Second) }, "not_due"},
		"overdue":                            {func(c *view.Case) { later(c, -6*time.Second) }, "schedule_late"},
		"after a failure":                    {func(c *view.Case) { later(c, time.Hour); event(c, job.EventRetrying) }, "backoff"},
		"after a failure of a life before":   {func(c *view.Case) { later(c, time.Hour); event(c, job.EventRetrying); c.Event.Life = "l0" }, "not_due"},
		"snoozed":                            {func(c *view.Case) { later(c, time.Hour); event(c, job.EventSnoozed) }, "not_due"},
		"later, of a schedule":               {func(c *view.Case) { later(c, time.Hour); c.Message.Tick = &job.Tick{Entry: "nightly"} }, "not_due"},
		"later, its queue paused":            {func(c *view.Case) { later(c, time.Hour); c.Registry.Paused = map[string]registry.Pause{"default": {}} }, "not_due"},
		"no workers":                         {func(c *view.Case) { c.Registry.Nodes = nil }, "no_worker"},
		"its type had never a worker":        {func(c *view.Case) { c.Registry.Nodes, c.Consumer = nil, nil }, "no_worker"},
		"only one of another type":           {func(c *view.Case) { c.Registry.Nodes[0].Types = []string{"email"} }, "no_worker"},
		"only one of another queue":          {func(c *view.Case) { c.Registry.Nodes[0].Queues = []string{"mail"} }, "no_worker"},
		"only one that drains":               {func(c *view.Case) { c.Registry.Nodes[0].State = registry.Draining }, "no_worker"},
		"only one that is silent":            {func(c *view.Case) { c.Located.Silent = []string{"web-1"} }, "no_worker"},
		"one drains and one does not": {func(c *view.Case) {
			c.Registry.Nodes[0].State = registry.Draining
			c.Registry.Nodes = append(c.Registry.Nodes, node("web-2", "import", 1))
		}, "unexplained"},
		"paused":                       {func(c *view.Case) { c.Registry.Paused = map[string]registry.Pause{"default": {}} }, "queue_paused"},
		"another queue is paused":      {func(c *view.Case) { c.Registry.Paused = map[string]registry.Pause{"mail": {}} }, "unexplained"},
		"its type is paused":           {func(c *view.Case) { c.Registry.PausedTypes = map[string]registry.Pause{"default/import": {}} }, "type_paused"},
		"its type is paused elsewhere": {func(c *view.Case) { c.Registry.PausedTypes = map[string]registry.Pause{"mail/import": {}} }, "unexplained"},
		"paused for ever, and for a while": {func(c *view.Case) {
			c.Registry.Paused = map[string]registry.Pause{"default": {Until: now.Add(time.Hour)}}
			c.Registry.PausedTypes = map[string]registry.Pause{"default/import": {}}
		}, "type_paused queue_paused"},
		"expired":                      {func(c *view.Case) { c.Message.Expires = time.Second }, "expired"},
		"not yet expired":              {func(c *view.Case) { c.Message.Expires = time.Hour }, "unexplained"},
		"expired, but it has started":  {func(c *view.Case) { c.Message.Expires, c.Message.Started = time.Second, true }, "unexplained"},
		"no slot, as the worker wrote": {func(c *view.Case) { c.Registry.Nodes[0] = node("web-1", "import", 0) }, "slots_full"},
		"no slot, as the worker tells": {func(c *view.Case) { c.Located.Free["web-1"] = 0 }, "slots_full"},
		"a slot, as the worker tells":  {func(c *view.Case) { c.Registry.Nodes[0] = node("web-1", "import", 0); c.Located.Free["web-1"] = 1 }, "unexplained"},
		"no slot on one of two": {func(c *view.Case) {
			c.Located.Free["web-1"] = 0
			c.Registry.Nodes = append(c.Registry.Nodes, node("web-2", "import", 1))
		}, "unexplained"},
		"no slot of a worker of before":        {func(c *view.Case) { n := &c.Registry.Nodes[0]; n.SlotsFree, n.ByType, n.RunningTotal = nil, nil, 4 }, "slots_full"},
		"others go first":                      {func(c *view.Case) { c.Before = view.Counted(7, view.Exact, now) }, "behind"},
		"nobody knows how many":                {func(c *view.Case) { c.Before, c.Consumer.NumPending = view.Uncounted(), 8 }, "behind"},
		"nobody knows, and it is the only one": {func(c *view.Case) { c.Before = view.Uncounted() }, "unexplained"},
		"others go first, and no slot":         {func(c *view.Case) { c.Before = view.Counted(7, view.About, now); c.Located.Free["web-1"] = 0 }, "slots_full (behind)"},
		"jobs of heavier queues": {func(c *view.Case) {
			c.Heavier = view.Counted(3, view.Exact, now)
			c.Registry.Nodes[0].StrictWeights = map[string]int{"high": 2, "default": 1}
		}, "outranked"},
		"no jobs of heavier queues": {func(c *view.Case) { c.Heavier = view.Counted(0, view.Exact, now) }, "unexplained"},
		"a quota is full": {func(c *view.Case) {
			c.Registry.Usages = []registry.Usage{quota(slots.OfType, "import", 2, map[string]int{"web-1": 2})}
			busyWith(&c.Registry.Nodes[0], "default/import", 2)
		}, "quota_full"},
		"more run than a quota allows": {func(c *view.Case) {
			c.Registry.Usages = []registry.Usage{quota(slots.OfType, "import", 2, map[string]int{"web-1": 3})}
			busyWith(&c.Registry.Nodes[0], "default/import", 3)
		}, "quota_full"},
		"a quota has one left": {func(c *view.Case) {
			c.Registry.Usages = []registry.Usage{quota(slots.OfType, "import", 3, map[string]int{"web-1": 2})}
			busyWith(&c.Registry.Nodes[0], "default/import", 2)
		}, "unexplained"},
		"the quota of its queue is full": {func(c *view.Case) {
			c.Registry.Usages = []registry.Usage{quota(slots.OfQueue, "default", 2, nil)}
			busyWith(&c.Registry.Nodes[0], "default/email", 2)
		}, "quota_full"},
		"the quota of its key is full": {func(c *view.Case) {
			c.Registry.Keys = map[string]string{"import": "crm", "export": "crm"}
			c.Registry.Usages = []registry.Usage{quota(slots.OfKey, "crm", 1, nil)}
			busyWith(&c.Registry.Nodes[0], "mail/export", 1)
		}, "quota_full"},
		"a quota of another type is full": {func(c *view.Case) {
			c.Registry.Usages = []registry.Usage{quota(slots.OfType, "email", 1, nil)}
			busyWith(&c.Registry.Nodes[0], "default/email", 1)
		}, "unexplained"},
		"a quota of another key is full": {func(c *view.Case) {
			c.Registry.Keys = map[string]string{"export": "crm"}
			c.Registry.Usages = []registry.Usage{quota(slots.OfKey, "crm", 1, nil)}
			busyWith(&c.Registry.Nodes[0], "mail/export", 1)
		}, "unexplained"},
		"two quotas are full": {func(c *view.Case) {
			c.Registry.Usages = []registry.Usage{quota(slots.OfType, "import", 1, nil), quota(slots.OfQueue, "default", 1, nil)}
			busyWith(&c.Registry.Nodes[0], "default/import", 1)
		}, "quota_full quota_full"},
		"a quota that cannot be read": {func(c *view.Case) { c.Registry.Usages = []registry.Usage{quota(slots.OfType, "import", 0, nil)} }, "unexplained"},
		"a worker of before says what it uses": {func(c *view.Case) {
			c.Registry.Usages = []registry.Usage{quota(slots.OfType, "import", 2, map[string]int{"web-1": 2})}
			c.Registry.Nodes[0].ByType = nil
		}, "quota_full"},
		"a silent worker holds permits": {func(c *view.Case) {
			c.Registry.Usages = []registry.Usage{quota(slots.OfType, "import", 2, map[string]int{"gone": 2})}
		}, "quota_held_idle"},
		"permits that are asked for others with": {func(c *view.Case) {
			c.Registry.Usages = []registry.Usage{quota(slots.OfType, "import", 2, map[string]int{"web-1": 2})}
		}, "quota_held_idle"},
		"a permit to spare": {func(c *view.Case) {
			u := quota(slots.OfType, "import", 2, map[string]int{"web-1": 2})
			u.Grants[0].Used = 0
			c.Registry.Usages = []registry.Usage{u}
		}, "unexplained"},
		"permits of a lost registry": {func(c *view.Case) {
			c.Registry.Usages = []registry.Usage{quota(slots.OfType, "import", 2, map[string]int{"_lost": 2})}
		}, "quota_lost"},
		"a rate is used up": {func(c *view.Case) {
			u := quota(slots.OfType, "import", 2, map[string]int{"web-1": 2})
			u.Rate, u.Limit.Per = true, time.Minute
			c.Registry.Usages = []registry.Usage{u}
		}, "rate_exhausted"},
		"a rate has one left": {func(c *view.Case) {
			u := quota(slots.OfType, "import", 3, map[string]int{"web-1": 2})
			u.Rate, u.Limit.Per = true, time.Minute
			c.Registry.Usages = []registry.Usage{u}
		}, "unexplained"},
		"it runs": {func(c *view.Case) { handedOut(c); c.Located.Running = &registry.Running{Node: "web-1", Life: "l1"} }, "(running)"},
		"it runs, and its queue is paused": {func(c *view.Case) {
			handedOut(c)
			c.Located.Running = &registry.Running{Node: "web-1"}
			c.Registry.Paused = map[string]registry.Pause{"default": {}}
		}, "(running)"},
		"a life before still runs": {func(c *view.Case) {
			handedOut(c)
			c.Located.Running = &registry.Running{Node: "web-1", Life: "l0"}
			c.Located.InHand = []string{"web-1"}
		}, "waits_in_hand"},
		"told to stop": {func(c *view.Case) {
			handedOut(c)
			c.Located.Running = &registry.Running{Node: "web-1", Told: "timeout"}
		}, "(stuck)"},
		"told to stop, by an order": {func(c *view.Case) {
			handedOut(c)
			c.Located.Running = &registry.Running{Node: "web-1", Told: "cancelled"}
			c.Registry.Orders = []*job.Order{{Queue: "default", Type: "import", ID: "j", Lives: []string{"l1"}}}
		}, "(cancelling) (running)"},
		"an order for another life": {func(c *view.Case) {
			handedOut(c)
			c.Located.Running = &registry.Running{Node: "web-1"}
			c.Registry.Orders = []*job.Order{{Queue: "default", Type: "import", ID: "j", Lives: []string{"l0"}}}
		}, "(running)"},
		"an order that is carried out": {func(c *view.Case) {
			c.Registry.Orders = []*job.Order{{Queue: "default", Type: "import", ID: "j", Lives: []string{"l1"}, Done: true}}
		}, "unexplained"},
		"an order for all jobs of the queue": {func(c *view.Case) { c.Registry.Orders = []*job.Order{{Queue: "default", Nonce: "n", Before: now}} }, "(cancelling)"},
		"in hand":                            {func(c *view.Case) { handedOut(c); c.Located.InHand = []string{"web-1"} }, "waits_in_hand"},
		"with a worker that is silent": {func(c *view.Case) {
			handedOut(c)
			c.Located.Running = &registry.Running{Node: "web-1"}
			c.Located.Silent = []string{"web-1"}
		}, "worker_silent"},
		"perhaps with one that is silent": {func(c *view.Case) { handedOut(c); c.Located.Silent = []string{"web-1"} }, "no_worker worker_silent"},
		"handed out, and nobody has it":   {func(c *view.Case) { handedOut(c) }, "unclaimed"},
		"nobody has it, and a quota is full": {func(c *view.Case) {
			handedOut(c)
			c.Registry.Usages = []registry.Usage{quota(slots.OfQueue, "default", 2, nil)}
			busyWith(&c.Registry.Nodes[0], "default/email", 2)
		}, "quota_full unclaimed"},
		"the message cannot be read": {func(c *view.Case) {
			c.Message, c.Missing = nil, []view.Missing{{What: view.MissingMessage, Why: "no answer"}}
		}, "broker_unready"},
		"the consumer cannot be read": {func(c *view.Case) {
			c.Consumer, c.Missing = nil, []view.Missing{{What: view.MissingConsumer, Why: "no answer"}}
			c.Registry.Nodes = nil
		}, "broker_unready no_worker"},
		"the stream has no leader":   {func(c *view.Case) { c.Stream = &jetstream.StreamInfo{Cluster: &jetstream.ClusterInfo{}} }, "broker_unready"},
		"the consumer has no leader": {func(c *view.Case) { c.Consumer.Cluster = &jetstream.ClusterInfo{} }, "broker_unready"},
	} {
		c := readyCase(t)
		tt.change(c)
		a := explain.Explain(c)
		check(t, a)
		if got := codes(a); got != tt.want {
			t.Errorf("%s: %s, want %s\n%s", name, got, tt.want, texts(a))
		}
	}
}

func TestManyAreReadable(t *testing.T) {
	for n, want := range map[int64]string{
		1: "1 other of its type goes first", 999: "999 others of its type go first", 1000: "1,000 others of its type go first", 1_234_056: "1,234,056 others of its type go first",
	} {
		c := readyCase(t)
		c.Before = view.Counted(n, view.Exact, now)
		if got := explain.Explain(c).First().Text; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// All that keeps a job is told, whatever comes together, in the order of how long it does.
func TestAllReasonsAreTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := readyCase(t)
		c.Registry.Paused, c.Registry.PausedTypes = make(map[string]registry.Pause), make(map[string]registry.Pause)
		troubles := []struct { // those that last longer come first
			code explain.Code
			make func()
		}{
			{explain.Expired, func() { c.Message.Expires = time.Second }},
			{explain.NoWorker, func() { c.Registry.Nodes[0].State = registry.Draining }},
			{explain.QueuePaused, func() { c.Registry.Paused["default"] = registry.Pause{} }},
			{explain.TypePaused, func() { c.Registry.PausedTypes["default/import"] = registry.Pause{Until: now.Add(time.Hour)} }},
			{explain.QuotaFull, func() {
				c.Registry.Usages = append(c.Registry.Usages, quota(slots.OfType, "import", 2, nil))
				busyWith(&c.Registry.Nodes[0], "default/import", 2)
			}},
			{explain.SlotsFull, func() { c.Located.Free["web-1"] = 0 }},
			{explain.RateExhausted, func() {
				u := quota(slots.OfType, "import", 2, map[string]int{"web-1": 2})
				u.Rate, u.Limit.Per = true, 10*time.Second
				c.Registry.Usages = append(c.Registry.Usages, u)
			}},
			{explain.Behind, func() { c.Before = view.Counted(3, view.Exact, now) }},
		}
		var want []explain.Code
		for _, trouble := range troubles {
			if rapid.Bool().Draw(t, string(trouble.code)) {
				trouble.make()
				want = append(want, trouble.code)
			}
		}
		if slices.Contains(want, explain.NoWorker) { // what workers do is beside the point then
			want = slices.DeleteFunc(want, func(c explain.Code) bool { return c == explain.SlotsFull || c == explain.Behind })
		}
		if len(want) == 0 {
			want = []explain.Code{explain.Unexplained}
		}
		a := explain.Explain(c)
		check(t, a)
		var got []explain.Code
		for _, r := range a.Reasons {
			got = append(got, r.Code)
		}
		if i := slices.Index(want, explain.Behind); i > 0 && slices.Contains(got, explain.Behind) { // it comes last then
			want = append(slices.Delete(want, i, i+1), explain.Behind)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// A job that nothing keeps is looked at again: what the workers wrote may have been old.
func TestLookAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		clears int // the look that finds something
		looks  int
		want   explain.Code
	}{
		"at once": {1, 1, explain.NoWorker}, "the second time": {2, 2, explain.NoWorker}, "never": {9, 3, explain.Unexplained},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &changing{t: t, clears: tt.clears}
			a, err := explain.Look(t.Context(), s, readyCase(t).Place)
			if err != nil || a.First().Code != tt.want || s.looks != tt.looks {
				t.Errorf("%s: %v after %d looks, %v", name, a, s.looks, err)
			}
			s = &changing{t: t, fails: true}
			if _, err := explain.Look(t.Context(), s, readyCase(t).Place); !errors.Is(err, errNoCase) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

var errNoCase = errors.New("no case")

// changing is a source whose workers go away.
type changing struct {
	t      *testing.T
	clears int
	looks  int
	fails  bool
}

func (s *changing) Case(context.Context, job.Place) (*view.Case, error) {
	if s.fails {
		return nil, errNoCase
	}
	c := readyCase(s.t)
	if s.looks++; s.looks >= s.clears {
		c.Registry.Nodes = nil
	}
	return c, nil
}
