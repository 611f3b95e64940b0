package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand"
)

// Reading is one value of a sensor.
type Reading struct {
	Sensor string
	Value  float64
}

func (Reading) Type() string { return "reading" }

// Many jobs go into one call, and each has its own end.
func ExampleHandleBatch() {
	mux := millhand.NewMux()
	millhand.HandleBatch(mux, millhand.BatchConfig[Reading]{Size: 500, Wait: 2 * time.Second, Bisect: true},
		func(ctx context.Context, b *millhand.JobBatch[Reading]) error {
			rows := make([]Reading, 0, len(b.Jobs))
			for _, j := range b.Jobs {
				switch {
				case j.Args.Sensor == "":
					b.Fail(j, millhand.Permanent(errors.New("a reading of no sensor")))
				case b.Lost(j) == nil:
					rows = append(rows, j.Args)
				}
			}
			return insert(ctx, rows) // if this fails as a whole, it is tried with half of them
		},
		millhand.TypeConfig{Timeout: time.Minute, MaxAttempts: 3})
	fmt.Println(mux.Types())
	// Output: [reading]
}

// insert stands for a write of many rows.
func insert(context.Context, []Reading) error { return nil }
