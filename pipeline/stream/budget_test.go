package stream

import (
	"testing"

	"pgregory.net/rapid"
)

// A tank is a budget with partitions whose messages wait at a broker.
type tank struct {
	budget
	parts []*backlog
}

type backlog struct {
	usage
	waiting   []int // sizes of messages
	held      []int // likewise
	unlimited bool  // it has asked for messages of any size
}

// note has the budget know how many partitions are busy.
func (b *tank) note() {
	b.partitions, b.busy, b.idle = len(b.parts), 0, 0
	for _, p := range b.parts {
		if p.isBusy() {
			b.busy++
		}
		if p.isIdle() {
			b.idle++
		}
	}
}

// request has a partition ask for what it may, and returns whether that is anything.
func (b *tank) request(p *backlog) bool {
	b.note()
	if p.asked.messages > 0 {
		return false
	}
	a := b.budget.request(&p.usage)
	if a.messages > 0 {
		b.ask(&p.usage, a)
		p.unlimited = a.bytes == 0
	}
	return a.messages > 0
}

// deliver brings up to n messages of what a partition has asked for, as the broker does.
func (b *tank) deliver(p *backlog, n int) {
	brought := 0
	for ; n > 0 && p.asked.messages > 0 && len(p.waiting) > 0; n-- {
		size := p.waiting[0]
		if size > p.asked.bytes && !p.unlimited {
			b.over(&p.usage)
			p.refused = brought == 0 && p.brought == 0
			return
		}
		brought++
		p.waiting = p.waiting[1:]
		p.held = append(p.held, size)
		p.behind = uint64(len(p.waiting))
		p.largest = max(size, p.largest-p.largest/8)
		b.came(&p.usage, 1, size, amount{1, size})
	}
}

func (b *tank) settle(p *backlog, i int) {
	b.free(&p.usage, amount{1, p.held[i]})
	p.held = append(p.held[:i], p.held[i+1:]...)
}

func (b *tank) check(t *rapid.T, largest int) {
	t.Helper()
	var sum, memory amount
	for _, p := range b.parts {
		sum = sum.plus(p.memory).plus(p.asked)
		memory = memory.plus(p.memory)
	}
	if sum != b.used {
		t.Fatalf("%+v is used, and the budget has %+v", sum, b.used)
	}
	if most := max(b.limit.messages, len(b.parts)); b.used.messages > most {
		t.Fatalf("%d messages, of %d", b.used.messages, most)
	}
	if most := b.limit.bytes + len(b.parts)*largest; memory.bytes > most {
		t.Fatalf("%d bytes, of %d", memory.bytes, most)
	}
}

// Partitions have no more than the budget together, or one message each; and none is ever left waiting for good.
func TestBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &tank{budget: budget{limit: amount{rapid.IntRange(1, 50).Draw(t, "messages"), rapid.IntRange(1, 500).Draw(t, "bytes")}}}
		largest := rapid.IntRange(1, 100).Draw(t, "largest")
		left := 0
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 100), 1, 8).Draw(t, "backlogs") {
			p := &backlog{waiting: rapid.SliceOfN(rapid.IntRange(1, largest), n, n).Draw(t, "sizes")}
			p.behind = uint64(n) //nolint:gosec // small
			b.parts = append(b.parts, p)
			left += n
		}
		part := rapid.Custom(func(t *rapid.T) *backlog { return b.parts[rapid.IntRange(0, len(b.parts)-1).Draw(t, "part")] })
		t.Repeat(map[string]func(*rapid.T){
			"request": func(t *rapid.T) { b.request(part.Draw(t, "of")) },
			"deliver": func(t *rapid.T) { b.deliver(part.Draw(t, "to"), rapid.IntRange(1, 20).Draw(t, "n")) },
			"expire":  func(t *rapid.T) { b.over(&part.Draw(t, "of").usage) },
			"settle": func(t *rapid.T) {
				if p := part.Draw(t, "of"); len(p.held) > 0 {
					b.settle(p, rapid.IntRange(0, len(p.held)-1).Draw(t, "which"))
				}
			},
			"": func(t *rapid.T) { b.check(t, largest) },
		})
		for moved := true; moved; {
			moved = false
			for _, p := range b.parts {
				asks := b.request(p)
				b.check(t, largest)
				asked := p.asked
				b.deliver(p, 1000)
				moved = moved || asks || p.asked != asked || len(p.held) > 0
				for len(p.held) > 0 {
					b.settle(p, 0)
				}
			}
		}
		for i, p := range b.parts {
			if len(p.waiting) > 0 {
				t.Fatalf("partition %d is left waiting: %+v of %+v", i, p.usage, b.budget)
			}
		}
	})
}
