package stages

// demand is the account of one subscription whose stage asks by itself. GenStage: split_batches in
// gen_stage/utils.ex.
type demand struct {
	max, min int
	pending  int // events asked for and not received; invariant: 0 <= pending <= max
}

// open returns the first ask, for a consumer that is still busy with busy events of an earlier
// subscription.
func (d *demand) open(busy int) int {
	d.pending = max(d.max-busy, 0)
	return d.pending
}

// receive takes the next batch out of a delivery that has left events to go. It returns the batch's
// size and what to ask for once the batch has been handled: asking any earlier would let events
// pile up behind a slow handler.
func (d *demand) receive(left int) (batch, ask int) {
	batch = min(left, d.max-d.min)
	d.pending -= batch
	if d.pending <= d.min {
		ask = d.max - d.pending
		d.pending = d.max
	}
	return batch, ask
}
