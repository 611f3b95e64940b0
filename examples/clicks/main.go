// Command clicks counts the clicks on each page in each minute, by the time at which people clicked. The clicks are in a
// JetStream stream in the order in which they came, and some came late: phones had no connection for a while.
//
//	go run ./examples/clicks
//
// A minute is counted as soon as a click of five seconds after its end has come, and again if late clicks change it within the
// five minutes that follow. What is even later is not counted, and said to be so. Package flow counts, with all cores;
// stream.Read reads the stream's past. Nothing is kept: the same stream always gives the same numbers.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/flow"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/pipeline/stream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "clicks:", err)
		os.Exit(1)
	}
}

// run starts a broker, has people click, and counts.
func run(ctx context.Context, out io.Writer) (err error) {
	b, stopBroker, err := broker.StartTemporary("clicks", broker.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopBroker()) }()
	nc, err := nats.Connect("", nats.InProcessServer(b))
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := click(ctx, nc); err != nil {
		return err
	}
	return count(ctx, out, stream.Read(ctx, nc, stream.ReadConfig{Stream: "CLICKS"}, stream.JSON[Click]))
}

// A Click is what a browser tells of one.
type Click struct {
	Page string
	At   time.Time
}

// Time is when it was, which is not when it came.
func (c Click) Time() time.Time { return c.At }

func page(c Click) string { return c.Page }

// count prints how many clicks each page had in each minute, and how that changed.
func count(ctx context.Context, out io.Writer, clicks iter.Seq2[Click, error]) error {
	var tooLate atomic.Int64
	minutes := flow.Fixed(time.Minute, Click.Time).Delay(5 * time.Second).Late(5 * time.Minute).
		OnLate(func(Click) { tooLate.Add(1) })
	perPage := flow.CountBy(flow.By(flow.FromErr(clicks), page).Within(minutes))
	counts, err := flow.Collect(ctx, perPage)
	if err != nil {
		return err
	}
	slices.SortFunc(counts, func(a, b flow.Group[string, int]) int { // pages are counted beside each other
		return cmp.Or(a.Pane.Start.Compare(b.Pane.Start), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Pane.Revision, b.Pane.Revision))
	})
	for _, c := range counts {
		if _, err := fmt.Fprintf(out, "%s %-8s %4d  revision %d, %v\n", c.Pane.Start.Format("15:04"), c.Key, c.Value, c.Pane.Revision, c.Pane.Trigger); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(out, "too late:", tooLate.Load())
	return err
}
