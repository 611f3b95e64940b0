package pipeline_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// known are the words of a setup.
var known = []string{
	"processors", "producers", "max_demand", "min_demand", "batch_size", "batch_timeout_ms", "batchers", "batch_processors",
	"key", "budget", "allowed", "interval_ms", "partition_by", "shutdown_ms", "resubscribe_ms",
}

// described is the pipeline that the case's setup is about.
func (s *scene) described() pipeline.Config[item] {
	s.Helper()
	for key := range s.Setup {
		if !slices.Contains(known, key) {
			s.Fatalf("%s: unknown setup %q", s.ID, key)
		}
	}
	demand := s.number("max_demand", s.atOnce())
	if _, ok := s.Setup["min_demand"]; ok {
		demand = 2 * (demand - s.number("min_demand", 0)) // here half of the demand comes together
	}
	c := s.config(demand)
	c.DrainTimeout = s.ms("shutdown_ms", 30_000)
	if allowed := s.number("allowed", 0); allowed > 0 {
		c.Limit = pipeline.Every(allowed, s.ms("interval_ms", 1000))
	}
	s.describeBatchers(&c)
	for _, step := range s.Steps {
		if strings.Contains(step, "stop at once") {
			c.InFlight = max(c.InFlight, len(s.pushed(step))) // what has been handed over is what there is room for
		}
	}
	s.describeCalls(&c)
	return c
}

// atOnce is how many messages a processor has at once if the setup does not say so: enough for a batch.
func (s *scene) atOnce() int {
	if _, batched := s.Setup["batch_size"]; batched || s.number("budget", 0) > 0 {
		return max(4, min(2*s.number("batch_size", 10), 10))
	}
	return 4
}

// batches reports whether the case has batchers.
func (s *scene) batches() bool {
	for key := range s.Setup {
		if strings.HasPrefix(key, "batch") || key == "key" || key == "budget" {
			return true
		}
	}
	return s.tells("batch")
}

// describeBatchers makes those of the setup: "default", or what it names with their sizes.
func (s *scene) describeBatchers(c *pipeline.Config[item]) {
	s.Helper()
	if !s.batches() {
		return
	}
	size, wait := s.number("batch_size", 100), s.ms("batch_timeout_ms", 1000)
	sizes := map[string]int{"default": size}
	if raw, ok := s.Setup["batchers"]; ok {
		var names []string
		sizes = map[string]int{}
		switch {
		case json.Unmarshal(raw, &sizes) == nil:
		case json.Unmarshal(raw, &names) == nil:
			for _, name := range names {
				sizes[name] = size
			}
		default:
			s.Fatalf("%s: batchers %s", s.ID, raw)
		}
	}
	batchers := map[string]*pipeline.Batcher[item]{}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		batchers[name] = s.batcher(name, sizes[name], wait, s.key())
		c.Batchers = append(c.Batchers, batchers[name])
	}
	forgotten := s.batcher("forgotten", size, wait, nil)
	c.Process = s.batched(func(i item) *pipeline.Batcher[item] {
		to := "default"
		if _, byParity := batchers[parity(i)]; byParity && i.routed {
			to = parity(i)
		}
		if i.to != "" {
			to = i.to
		}
		if b := batchers[to]; b != nil && i.value != "bad" {
			return b
		}
		return forgotten
	})
}

// key is that of the setup's batches: by parity, or one for all.
func (s *scene) key() func(item) string {
	raw, ok := s.Setup["key"]
	if !ok {
		return nil
	}
	var name string
	if err := json.Unmarshal(raw, &name); err != nil {
		s.Fatal(err)
	}
	if name == "parity" {
		return parity
	}
	return func(item) string { return name }
}

// describeCalls has the pipeline do what the case is about beside Process.
func (s *scene) describeCalls(c *pipeline.Config[item]) {
	about := strings.ToLower(s.Title + " " + strings.Join(s.Steps, " "))
	process := c.Process
	raises := strings.Contains(about, "error in handle_failed") || strings.Contains(about, "handle_failed raises")
	c.Failed = func(_ context.Context, failed []*pipeline.Message[item]) {
		var items []item
		for _, m := range failed {
			items = append(items, m.Value)
			m.Meta["seen"] = "yes"
		}
		s.note("handle_failed", values(items))
		if raises {
			for _, m := range failed {
				delete(m.Meta, "seen")
			}
			panic("raised")
		}
	}
	if strings.Contains(about, "ack_immediately") {
		c.Process = func(ctx context.Context, m *pipeline.Message[item]) error {
			m.AckNow()
			s.note("after_ack")
			return process(ctx, m)
		}
	}
	if s.tells("configure") {
		c.Process = func(ctx context.Context, m *pipeline.Message[item]) error {
			if err := m.ConfigureAck([][]string{{"on_failure", "discard"}}); err != nil {
				return err
			}
			return process(ctx, m)
		}
	}
	if strings.Contains(about, "prepare") {
		c.Prepare = func(_ context.Context, group []*pipeline.Message[item]) error {
			var items []item
			for _, m := range group {
				items = append(items, m.Value)
			}
			s.note("prepare", values(items))
			if strings.Contains(about, "error") || strings.Contains(about, "rais") || strings.Contains(about, "fewer") {
				panic("raised")
			}
			return nil
		}
	}
}

// batcher logs its batches, and fails in them what is to fail there.
func (s *scene) batcher(name string, size int, wait time.Duration, key func(item) string) *pipeline.Batcher[item] {
	c := pipeline.BatcherConfig[item]{Name: name, Size: size, Wait: wait, Key: key, Concurrency: s.number("batch_processors", 1)}
	if budget := s.number("budget", 0); budget > 0 {
		c.Split = func() func(item) bool {
			left := budget
			return func(i item) bool {
				n, _ := i.value.(int)
				emit := n >= left
				left -= n
				return emit
			}
		}
	}
	c.Handle = func(_ context.Context, b *pipeline.Batch[item]) error {
		k := b.Key
		if k == "" {
			k = "default"
		}
		s.note("batch", name, values(b.Items), triggers[b.Trigger], k)
		for i, v := range b.Items {
			switch {
			case v.inBatch && v.value == "raise":
				panic("raised")
			case v.inBatch:
				b.Fail(i, s.reason())
			}
		}
		return nil
	}
	return pipeline.NewBatcher(c)
}

// batched is Process that fails what is to fail there, and adds the rest to a batcher.
func (s *scene) batched(to func(item) *pipeline.Batcher[item]) func(context.Context, *pipeline.Message[item]) error {
	return func(ctx context.Context, m *pipeline.Message[item]) error {
		if err := s.process(ctx, m.Value); err != nil {
			return err
		}
		if b := to(m.Value); m.Value.flush {
			b.AddNow(m, m.Value)
		} else {
			b.Add(m, m.Value)
		}
		return nil
	}
}

// failsInBatch reports whether what fails does so where it is handled with others: an ack that tells of
// both, or a batch with such a value, cannot come from Process.
func (s *scene) failsInBatch() bool {
	for key := range s.Expect {
		list, _ := s.decoded(key).([]any)
		for _, e := range list {
			l, _ := e.([]any)
			if len(l) < 4 {
				continue
			}
			values, _ := l[2].([]any)
			failed, _ := l[3].([]any)
			if l[0] == "ack" && len(values) > 0 && len(failed) > 0 ||
				l[0] == "batch" && slices.ContainsFunc(values, func(v any) bool { return v == "fail" || v == "raise" }) {
				return s.batches()
			}
		}
	}
	return false
}
