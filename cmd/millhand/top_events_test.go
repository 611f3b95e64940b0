package main

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/console"
)

// However much happens, a tail keeps little, and says how much it left out.
func TestTailIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tail := newTail()
		const seconds, each = 30, 500
		n := 0
		for range seconds {
			for range each {
				n++
				tail.add(millhand.Event{Ref: millhand.Ref{ID: strconv.Itoa(n)}}, nil)
			}
			time.Sleep(time.Second)
		}
		events, unshown, err := tail.last()
		if err != nil || len(events) != tailKept || unshown != seconds*(each-tailShown) {
			t.Errorf("%d events, %d not shown, %v", len(events), unshown, err)
		}
		if got, want := events[0].ID, strconv.Itoa((seconds-1)*each+tailShown); got != want {
			t.Errorf("the newest is %s, want %s", got, want)
		}
		if len(tail.events) >= 2*tailKept {
			t.Errorf("%d are kept", len(tail.events))
		}
	})
}

// Events are asked for once their screen is opened, and follow.
func TestTopEvents(t *testing.T) {
	inDesk(t, func(d *desk) {
		ctx, stop := context.WithCancel(d.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		wg.Go(func() { d.tail.follow(ctx, d.base.client) })
		events := console.Screen{Kind: console.Events, Filter: "type:import"}
		if n := len(d.load(events).Rows); n != 0 {
			d.Errorf("%d events of jobs that have not ended", n)
		}
		for _, id := range []string{"file-1", "file-2"} {
			d.do(console.Cancel, console.Screen{Kind: console.Jobs}, "", "default/import/"+id)
			time.Sleep(time.Second)
		}
		rows := d.load(events).Rows
		if len(rows) != 2 || rows[0].Why != "default/import/file-2" || rows[0].Cells[1].Text != "cancelled" {
			d.Errorf("events: %+v, want the newest first", rows)
		}
	})
}
