package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/pipeline"
)

// Order goes by key and not by processor: what holds for each partition holds for each key.
func partitions(s *scene) {
	if by := string(s.Setup["partition_by"]); by != `"value"` {
		s.Fatalf("unknown partition_by %s", by)
	}
	processors := s.number("processors", 1)
	partition := func(i item) int {
		n, _ := i.value.(int)
		return n % processors
	}
	var mu sync.Mutex
	got := make([][]any, processors)
	running := make([]bool, processors)
	c := s.config(10)
	c.OrderBy = func(m *pipeline.Message[item]) string { return strconv.Itoa(partition(m.Value)) }
	c.Process = func(ctx context.Context, m *pipeline.Message[item]) error {
		p := partition(m.Value)
		mu.Lock()
		if running[p] {
			s.Errorf("two messages of partition %d at once", p)
		}
		running[p] = true
		mu.Unlock()
		err := s.process(ctx, m.Value)
		mu.Lock()
		defer mu.Unlock()
		running[p] = false
		got[p] = append(got[p], m.Value.value)
		return err
	}
	s.start(c)
	for _, step := range s.Steps {
		s.do(step)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	s.want("per_processor", got, true)
}

// The sources that are merged share what there is room for.
func producerConcurrency(s *scene) {
	producers := s.number("producers", 1)
	per := s.number("max_demand", 10)
	c := s.config(per * producers)
	demands, indexes := make([]any, producers), []any{}
	var sources []pipeline.Source[item]
	for i := range producers {
		indexes = append(indexes, i)
		sources = append(sources, pullFunc(func(ctx context.Context, n int) {
			demands[i] = n
			<-ctx.Done()
		}))
	}
	c.Source = pipeline.Merge(sources...)
	s.start(c)
	synctest.Wait()
	s.want("demands", demands, false)
	s.want("indexes", indexes, false)
}

type pullFunc func(ctx context.Context, n int)

func (f pullFunc) Pull(ctx context.Context, n int, out []pipeline.Delivery[item]) ([]pipeline.Delivery[item], error) {
	f(ctx, n)
	return out, ctx.Err()
}

// A source that panics is asked again, and nothing else notices.
func producerCrash(s *scene) {
	c := s.config(4)
	crashed := false
	feed := s.source
	c.Source = crashing{feed, &crashed}
	s.start(c)
	time.Sleep(time.Second)
	if !crashed {
		s.Error("the source did not crash")
	}
	for _, step := range s.Steps {
		if step != "crash producer" {
			s.do(step)
		}
	}
	s.want("next", s.happened("ack"), false)
}

type crashing struct {
	*feed
	crashed *bool
}

func (c crashing) Pull(ctx context.Context, n int, out []pipeline.Delivery[item]) ([]pipeline.Delivery[item], error) {
	if !*c.crashed {
		*c.crashed = true
		panic("crash producer")
	}
	return c.feed.Pull(ctx, n, out)
}

// What processors and batchers say of themselves has no span here; messages, failures and batches do.
func telemetry(s *scene) {
	var want [][]string
	if err := json.Unmarshal(s.Expect["sequence"], &want); err != nil {
		s.Fatal(err)
	}
	_, pushed, ok := strings.Cut(s.Title, "push ") // the steps do not say what is pushed
	if !ok {
		s.Fatalf("what is pushed? %q", s.Title)
	}
	pushed, _, _ = strings.Cut(pushed, " with")
	items := s.pushed("push " + pushed)
	var sequence []string
	begun := 0
	for _, e := range want {
		phase := e[len(e)-1]
		switch {
		case e[0] == "processor" && len(e) == 3:
			if phase == "start" {
				begun++
			}
			if phase == "stop" && items[begun-1].value == "fail" {
				phase = "exception" // there a message is marked as failed; here its function returns an error
			}
			sequence = append(sequence, "process "+map[string]string{"start": "start", "stop": "stop", "exception": "fail"}[phase])
		case e[0] == "handle_failed":
			sequence = append(sequence, "failed "+phase)
		case e[0] == "batch_processor":
			sequence = append(sequence, "batch/default "+phase)
		}
	}
	var mu sync.Mutex
	var got []string
	c := s.config(8)
	c.Observe = func(e pipeline.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.What == "process" || e.What == "failed" || e.What == "batch/default" {
			got = append(got, e.What+" "+e.Phase.String())
		}
	}
	b := s.batcher("default", s.number("batch_size", 2), time.Second, nil)
	c.Failed = func(context.Context, []*pipeline.Message[item]) {}
	c.Batchers, c.Process = []pipeline.AnyBatcher{b}, s.batched(func(item) *pipeline.Batcher[item] { return b })
	s.start(c)
	s.source.push(items...)
	s.happened()
	mu.Lock()
	defer mu.Unlock()
	byPart := func(a, b string) int { return rank(a) - rank(b) } // what processors and handlers do is concurrent
	slices.SortStableFunc(got, byPart)
	slices.SortStableFunc(sequence, byPart)
	if !slices.Equal(got, sequence) {
		s.Errorf("got %q, want %q", got, sequence)
	}
}

func rank(e string) int {
	if e[:5] == "batch" {
		return 1
	}
	return 0
}

// Who wants to push has a source of a channel, or of their own.
func pushMessages(s *scene) {
	values, ok := strings.CutPrefix(s.Steps[0], "push_messages ")
	if !ok {
		s.Fatalf("unknown step %q", s.Steps[0])
	}
	pushed := make(chan item, 10)
	var handled, acked []any
	c := s.config(4)
	c.Source = pipeline.FromChan(pushed)
	c.Process = func(_ context.Context, m *pipeline.Message[item]) error {
		handled = append(handled, m.Value.value)
		return nil
	}
	c.Observe = func(e pipeline.Event) {
		if e.What == "settle" && e.Phase == pipeline.Stop && e.Failed == 0 {
			for _, v := range handled[len(acked):] {
				acked = append(acked, fmt.Sprint(v))
			}
		}
	}
	s.start(c)
	for _, i := range s.pushed("push " + values) {
		pushed <- i
		synctest.Wait()
	}
	s.want("handled", handled, false)
	s.want("ack", acked, false)
}

// wait does a step that waits.
func (s *scene) wait(step string) {
	s.Helper()
	s.do(step)
}

// What ends the goroutine of a handler fails its batch, and no other one is lost.
func batcherKill(s *scene) {
	b := pipeline.NewBatcher(pipeline.BatcherConfig[item]{Size: s.number("batch_size", 2), Handle: func(_ context.Context, b *pipeline.Batch[item]) error {
		if slices.ContainsFunc(b.Items, func(i item) bool { return i.value == "kill_batcher" }) {
			runtime.Goexit()
		}
		return nil
	}})
	c := s.config(8)
	c.Batchers = []pipeline.AnyBatcher{b}
	c.Process = func(_ context.Context, m *pipeline.Message[item]) error { b.Add(m, m.Value); return nil }
	s.start(c)
	groups, _ := s.decoded("acked").([]any)
	lost, _ := s.decoded("lost").([]any)
	want, killed := []any{}, []any{}
	for i, g := range groups {
		group, _ := g.([]any)
		if slices.Contains(group, any("kill_batcher")) {
			killed = group
			groups[i] = lost // what waited behind it is not lost here
			group = append(slices.Clone(group), lost...)
		}
		for _, v := range group {
			s.source.push(s.values(fmt.Sprint(v), false)...)
		}
	}
	for _, g := range groups {
		want = append(want, g.([]any)...)
	}
	ok, failed := []any{}, []any{}
	for _, e := range s.happened("ack") {
		ok = append(ok, e[2].([]any)...)
		for _, f := range e[3].([]any) {
			failed = append(failed, f.([]any)[0])
		}
	}
	s.equal("acked", sorted(want), sorted(plain(s.T, ok)))
	s.equal("the killed batch", sorted(killed), sorted(plain(s.T, failed)))
}

// The bench of package pipelinetest is another package's: what it stands on is a source whose acker tells
// the ends back, and a flush.
func benched(s *scene) {
	c := s.described()
	b := s.batcher("default", s.number("batch_size", 2), time.Second, nil)
	c.Batchers, c.Process = []pipeline.AnyBatcher{b}, s.batched(func(item) *pipeline.Batcher[item] { return b })
	s.start(c)
	acks := []any{}
	for _, step := range s.Steps {
		one, isOne := strings.CutPrefix(step, "test_message ")
		many, isMany := strings.CutPrefix(step, "test_batch ")
		switch {
		case isOne:
			items := s.values(one, false)
			all(items, func(i *item) { i.flush = true })
			s.source.push(items...)
		case isMany:
			many = strings.NewReplacer("[", "", "]", "", " bulk", "", ",", " ").Replace(many)
			s.do("push " + many)
		default:
			s.Fatalf("unknown step %q", step)
		}
		for _, e := range s.happened("ack") {
			acks = append(acks, []any{"ref", e[2], e[3]})
		}
	}
	s.want("acks", acks, false)
}
