package queue

// wake tells whoever waits on c, whose capacity is 1, without waiting for it: a wake is never lost,
// and many are one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
