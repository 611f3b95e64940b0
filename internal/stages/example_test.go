package stages_test

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

// A producer of numbers, a processor that keeps the even ones, and a consumer. The pipeline ends
// with its source.
func Example() {
	numbers, _ := stages.FromSeq(slices.Values([]int{1, 2, 3, 4, 5, 6}), stages.ProducerConfig[int]{})
	even, _ := stages.NewProcessor(stages.ProcessorConfig[int, string]{
		Handle: func(_ context.Context, batch []int, out []string) ([]string, error) {
			for _, n := range batch {
				if n%2 == 0 {
					out = append(out, fmt.Sprint("number ", n))
				}
			}
			return out, nil
		},
	})
	printer, _ := stages.NewConsumer(stages.ConsumerConfig[string]{
		Handle: func(_ context.Context, batch []string) error {
			for _, line := range batch {
				fmt.Println(line)
			}
			return nil
		},
	})
	if _, err := even.Subscribe(numbers, stages.SubscribeOptions[int]{MaxDemand: 2}); err != nil {
		fmt.Println(err)
	}
	if _, err := printer.Subscribe(even, stages.SubscribeOptions[string]{}); err != nil {
		fmt.Println(err)
	}

	var all sync.WaitGroup
	for _, run := range []func(context.Context) error{numbers.Run, even.Run, printer.Run} {
		all.Go(func() { _ = run(context.Background()) }) // all of them end well in this example
	}
	all.Wait()
	// Output:
	// number 2
	// number 4
	// number 6
}

// A pipeline below a supervisor, on default terms. The producer crashes once: RestForOne restarts
// it and then the consumer, which depends on it, and counts that as one restart.
func Example_supervised() {
	runs := 0
	source, _ := stages.NewProducer(stages.ProducerConfig[string]{
		Demand: func(_ context.Context, _ int, out []string) ([]string, error) {
			if runs++; runs == 1 {
				panic("connection lost")
			}
			return append(out, "an event"), nil
		},
	})
	done := make(chan struct{})
	sink, _ := stages.NewConsumer(stages.ConsumerConfig[string]{
		Handle: func(_ context.Context, batch []string) error {
			fmt.Println("handles", batch)
			close(done)
			return nil
		},
	})
	if _, err := sink.Subscribe(source, stages.SubscribeOptions[string]{}); err != nil {
		fmt.Println(err)
		return
	}
	tree, _ := supervisor.New(supervisor.Spec{
		Name:     "pipeline",
		Strategy: supervisor.RestForOne,
		Children: []supervisor.Child{
			{Name: "source", RunReady: source.RunReady},
			{Name: "sink", RunReady: sink.RunReady},
		},
		OnEvent: func(e supervisor.Event) {
			if e.Kind == supervisor.ChildRestarting {
				fmt.Println("restarts", e.Group, "because of", e.Err)
			}
		},
	})
	stop, err := supervisor.Start(context.Background(), tree)
	if err != nil {
		fmt.Println(err)
		return
	}
	<-done
	fmt.Println("stopped:", stop())
	// Output:
	// restarts [source sink] because of panic: connection lost
	// handles [an event]
	// stopped: <nil>
}

// turns is a dispatcher that gives consumers one event each in turn, whatever they have asked for.
type turns struct {
	order  []stages.ConsumerID // who is first has waited longest
	demand map[stages.ConsumerID]int
	sum    int
}

func (d *turns) Subscribe(c stages.ConsumerID, _ stages.SubscribeOptions[string]) error {
	d.order = append(d.order, c)
	d.demand[c] = 0
	return nil
}

func (d *turns) Ask(c stages.ConsumerID, n int, _ stages.Outbox[string]) {
	d.demand[c] += n
	d.sum += n
}

func (d *turns) Cancel(c stages.ConsumerID) {
	d.sum -= d.demand[c]
	delete(d.demand, c)
	d.order = slices.DeleteFunc(d.order, func(known stages.ConsumerID) bool { return known == c })
}

func (d *turns) Dispatch(events []string, out stages.Outbox[string]) (taken int) {
	for ; taken < len(events) && d.sum > 0; taken++ {
		out.Deliver(d.next(), events[taken:taken+1])
	}
	return taken
}

func (d *turns) Return(n int, out stages.Outbox[string]) {
	for range n {
		out.Return(d.next(), 1)
	}
}

func (d *turns) Waiting() int { return d.sum }

// next takes one event's demand from the consumer whose turn it is.
func (d *turns) next() stages.ConsumerID {
	i := slices.IndexFunc(d.order, func(c stages.ConsumerID) bool { return d.demand[c] > 0 })
	c := d.order[i]
	d.order = append(slices.Delete(d.order, i, i+1), c)
	d.demand[c]--
	d.sum--
	return c
}

// A dispatcher of one's own: only the decision who gets what is written, demand and buffering are
// the stage's.
func ExampleDispatcher() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	asked := 0
	source, _ := stages.NewProducer(stages.ProducerConfig[string]{
		OutletConfig: stages.OutletConfig[string]{
			Dispatcher: func() stages.Dispatcher[string] { return &turns{demand: map[stages.ConsumerID]int{}} },
		},
		Demand: func(_ context.Context, n int, out []string) ([]string, error) {
			if asked += n; asked < 6 {
				return out, nil // not both consumers have asked yet
			}
			return append(out, "1", "2", "3", "4"), nil
		},
	})
	var all sync.WaitGroup
	all.Go(func() { _ = source.Run(ctx) }) // ends with ctx

	results := make(chan string)
	for _, name := range []string{"a", "b"} {
		c, _ := stages.NewConsumer(stages.ConsumerConfig[string]{
			Hooks: stages.Hooks[string]{OnSubscribe: func(s *stages.Subscription[string]) { s.Ask(3) }},
			Handle: func(_ context.Context, batch []string) error {
				for range batch {
					results <- name
				}
				return nil
			},
		})
		_, _ = c.Subscribe(source, stages.SubscribeOptions[string]{Manual: true}) // the terms are valid
		all.Go(func() { _ = c.Run(ctx) })
	}
	got := map[string]int{}
	for range 4 {
		got[<-results]++
	}
	stop()
	all.Wait()
	fmt.Println(got)
	// Output: map[a:2 b:2]
}
