package main

import (
	"context"
	"errors"
	"sync"
)

// inParallel runs the parts of the demo until one returns an error, which ends the
// others; that all jobs have ended is none.
func inParallel(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, part := range parts {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errDemoOver) {
		return err
	}
	return nil
}
