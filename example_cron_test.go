package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // as in a program
	"time"

	"github.com/millhand/millhand"
)

// An entry is put at every start of a program, and stays in the broker. Any worker enqueues its jobs.
func ExampleClient_PutCron() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	nightly := millhand.Cron{
		Name: "nightly", Schedule: "30 2 * * *", Zone: "Europe/Amsterdam",
		Args:    millhand.Raw{Name: "report", Payload: []byte(`{"kind":"daily"}`)},
		Options: []millhand.EnqueueOption{millhand.WithMaxAttempts(3)},
	}
	if err := client.PutCron(ctx, nightly); err != nil {
		log.Fatal(err)
	}
	nightly.Schedule = "60 2 * * *"
	fmt.Println(client.PutCron(ctx, nightly))
	// Output:
	// millhand: schedule "60 2 * * *": minute 60: want 0 to 59, such as 30 or */15
}

// Entries are listed with what comes next and what was left out, and removed with the job that waits for
// the next tick.
func ExampleClient_Crons() {
	nc, stop := connect()
	defer stop()
	client := newClient(nc)
	ctx := context.Background()
	err := client.PutCron(ctx, millhand.Cron{Name: "ping", Schedule: "@every 90s", Args: millhand.Raw{Name: "ping"}, Overlap: millhand.AllowOverlap})
	if err != nil {
		log.Fatal(err)
	}
	entries, err := client.Crons(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range entries {
		fmt.Println(e.Name, e.Schedule, e.Type, e.Queue, e.CatchUp, time.Until(e.NextTick) <= 90*time.Second, e.Missed, e.Skipped)
	}
	fmt.Println(client.DeleteCron(ctx, "ping"))
	fmt.Println(errors.Is(client.DeleteCron(ctx, "ping"), millhand.ErrNotFound))
	// Output:
	// ping @every 90s ping default one true 0 0
	// <nil>
	// true
}

// A schedule can be looked at without a broker.
func ExampleCron_Next() {
	nightly := millhand.Cron{Name: "nightly", Schedule: "30 2 * * *", Zone: "Europe/Amsterdam"}
	ticks, err := nightly.Next(time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC), 3)
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range ticks { // on the 29th there is no 02:30: the clocks go from 02:00 to 03:00
		fmt.Println(t)
	}
	// Output:
	// 2026-03-28 02:30:00 +0100 CET
	// 2026-03-29 03:00:00 +0200 CEST
	// 2026-03-30 02:30:00 +0200 CEST
}

func ExampleCron_Check() {
	fmt.Println(millhand.Cron{Name: "nightly", Schedule: "0 30 2 * * *", Args: millhand.Raw{Name: "report"}}.Check())
	// Output: millhand: schedule "0 30 2 * * *": want five fields, minutes first, such as "30 2 * * *", and not 6
}
