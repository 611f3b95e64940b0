package registry

import "sync"

// maxInFlight is how many requests a node has in flight at once: with 400 limits, a broker that
// is 40 ms away answers all within half a second.
const maxInFlight = 128

// each calls f for every item, many at once, and returns when all have returned. If one
// panics, so does each, after that.
func each[T any](items []T, f func(T)) {
	if len(items) == 1 {
		f(items[0])
		return
	}
	var (
		wg       sync.WaitGroup
		once     sync.Once
		panicked any
		room     = make(chan struct{}, maxInFlight)
	)
	for _, item := range items {
		room <- struct{}{}
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					once.Do(func() { panicked = v })
				}
				<-room
			}()
			f(item)
		})
	}
	wg.Wait()
	if panicked != nil {
		panic(panicked)
	}
}
