package slots

import (
	"strconv"
	"testing"
	"time"
)

// One job of a short type finishes and the next one is asked for.
func BenchmarkDemand(b *testing.B) {
	for _, types := range []int{1, 20} {
		b.Run(strconv.Itoa(types), func(b *testing.B) {
			d := &demand{concurrency: 100}
			for range types {
				s := d.add(1)
				d.opened(s)
			}
			busy := d.sources[0]
			busy.runs, busy.run = runSamples, time.Microsecond
			asks, _ := d.plan(time.Now)
			for _, g := range asks {
				d.delivered(g.source, g.n, 1_000_000)
			}
			d.inHand, busy.inHand, busy.backlog = 400, 400, 1_000_000
			b.ReportAllocs()
			for b.Loop() {
				d.finished(busy, time.Microsecond)
				asks, _ := d.plan(time.Now)
				for _, g := range asks {
					if g.source == busy {
						d.delivered(g.source, g.n, 1_000_000)
					} else {
						d.returned(g.source, g.n)
					}
				}
			}
		})
	}
}
