package flow_test

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/millhand/millhand/flow"
)

type Click struct {
	Page string
	At   time.Time
}

func (c Click) Time() time.Time { return c.At }
func page(c Click) string       { return c.Page }

// Clicks a minute by page, in event time, over a file that has some of them late.
func ExampleKeyed_Within() {
	var late []string
	minutes := flow.Fixed(time.Minute, Click.Time).Delay(5 * time.Second).Late(5 * time.Minute).
		OnLate(func(c Click) { late = append(late, c.At.Format(time.TimeOnly)) })
	perPage := flow.CountBy(flow.By(flow.FromErr(clicks()), page).Within(minutes))
	for g, err := range perPage.All(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(g.Pane.Start.Format("15:04"), g.Key, g.Value, g.Pane.Trigger)
	}
	fmt.Println("too late:", late)
	// Output:
	// 12:00 / 2 watermark
	// 12:01 / 1 watermark
	// 12:02 / 1 watermark
	// 12:00 / 3 done
	// 12:01 / 1 done
	// 12:02 / 1 done
	// 12:07 / 1 done
	// too late: [12:00:50]
}

func clicks() iter.Seq2[Click, error] {
	return func(yield func(Click, error) bool) {
		for _, at := range []string{
			"12:00:10",
			"12:01:02", // within the delay: 12:00 is still open
			"12:00:59", // so this one is in time
			"12:02:10", // the watermark is at 12:02:05
			"12:00:30", // late, and taken: 12:00 is emitted again, for good
			"12:07:00", // five minutes later
			"12:00:50", // too late
		} {
			t, err := time.Parse(time.DateTime, "2026-11-28 "+at)
			if !yield(Click{"/", t}, err) {
				return
			}
		}
	}
}
