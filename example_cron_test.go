package millhand_test

import (
	"fmt"
	"time"

	"github.com/millhand/millhand"
)

func ExampleCron_Next() {
	nightly := millhand.Cron{Name: "nightly", Schedule: "30 2 * * *", Zone: "Europe/Amsterdam"}
	ticks, err := nightly.Next(time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC), 3)
	if err != nil {
		fmt.Println(err)
	}
	for _, t := range ticks { // on the 29th there is no 02:30: the clocks go from 02:00 to 03:00
		fmt.Println(t)
	}
	// Output:
	// 2026-03-28 02:30:00 +0100 CET
	// 2026-03-29 03:00:00 +0200 CEST
	// 2026-03-30 02:30:00 +0200 CEST
}
