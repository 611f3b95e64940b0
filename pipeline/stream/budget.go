package stream

// An amount is of messages, and of their bytes.
type amount struct{ messages, bytes int }

func (a amount) plus(b amount) amount { return amount{a.messages + b.messages, a.bytes + b.bytes} }

func (a amount) minus(b amount) amount { return amount{a.messages - b.messages, a.bytes - b.bytes} }

func (a amount) least(b amount) amount {
	return amount{min(a.messages, b.messages), min(a.bytes, b.bytes)}
}

// A budget is what a process may have of the messages of all its partitions, be they asked for, ready, or in hand. It
// is pure.
type budget struct {
	limit      amount
	used       amount
	partitions int // that it is for
	busy       int // of these, those that have messages, or whose messages wait at the broker
	idle       int // of these, those that have nothing and have asked for nothing
}

// A usage is what one partition has of a budget.
type usage struct {
	memory  amount // ready, or in hand
	asked   amount // and not come yet
	behind  uint64 // messages that wait at the broker
	brought int    // messages, since it asked last
	largest int    // bytes of a message, of late
	refused bool   // the next message is larger than what was asked for
}

func (u *usage) isBusy() bool { return u.behind > 0 || u.memory.messages > 0 }

func (u *usage) isIdle() bool { return u.asked.messages == 0 && u.memory.messages == 0 }

// request returns what a partition may ask for that has asked for nothing; with 0 bytes the messages may be of any size.
//
// That is as many as wait for it, or a few more than came last: those that nothing waits for have half of the budget
// together, at most. None has more than its share of those that are busy, and none takes the last place of those that
// have nothing: they ask for a message whatever others have, and so do those whose next message is larger than what
// there is room for.
func (b *budget) request(u *usage) amount {
	share := amount{max(b.limit.messages/max(b.busy, 1), 1), max(b.limit.bytes/max(b.busy, 1), 1)}
	free := b.limit.minus(b.used)
	if free.messages -= b.idle; u.isIdle() {
		free.messages++ // its own
	}
	room := share.minus(u.memory).least(free)
	want := max(int(min(u.behind, maxRequest)), min(2*u.brought, maxRequest, b.limit.messages/(2*max(b.partitions, 1))), 1)
	each := max(b.limit.bytes/max(b.limit.messages, 1), u.largest, 1)
	wanted := amount{want, min(want, share.bytes/each+1) * each}
	enough := amount{1, each}
	if u.behind > 0 && !u.isIdle() { // requests for a message or two cost as much as others
		enough = wanted.least(amount{(share.messages + 3) / 4, max(share.bytes/4, each)})
	}
	switch {
	case u.isIdle() && (u.refused || room.messages < 1 || room.bytes < each):
		return amount{messages: 1}
	case u.refused || room.messages < enough.messages || room.bytes < enough.bytes:
		return amount{} // until more is settled
	}
	return wanted.least(room)
}

// came notes messages that a request has brought, of which so many are kept. The rest of the request stays reserved.
func (b *budget) came(u *usage, n int, size int, kept amount) {
	arrived := amount{n, size}.least(u.asked)
	if arrived.messages == u.asked.messages {
		arrived = u.asked // it is over
	}
	u.asked = u.asked.minus(arrived)
	u.brought += n
	b.used = b.used.minus(arrived)
	b.keep(u, kept)
}

// ask reserves what is asked for.
func (b *budget) ask(u *usage, a amount) {
	u.asked, u.brought, u.refused = a, 0, false
	b.used = b.used.plus(a)
}

// over notes that a request brings nothing more.
func (b *budget) over(u *usage) {
	b.used = b.used.minus(u.asked)
	u.asked = amount{}
}

func (b *budget) keep(u *usage, a amount) {
	u.memory = u.memory.plus(a)
	b.used = b.used.plus(a)
}

func (b *budget) free(u *usage, a amount) {
	u.memory = u.memory.minus(a)
	b.used = b.used.minus(a)
}
