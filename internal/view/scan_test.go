package view

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// A stream with gaps is read whole, once and in order, in both directions and on both ways: many at a
// time, and one by one.
func TestScanReadsAllOnce(t *testing.T) {
	natstest.Check(t, func(rt *rapid.T, s *natstest.Server) {
		log := natstest.Logger(natstest.Output(rt))
		js, err := stream.New(s.Connect(rt), stream.Config{Logger: log})
		if err != nil {
			rt.Fatal(err)
		}
		v := New(Config{Client: js, Store: queue.NewStore(js, queue.Config{Logger: log}), Registry: registry.NewStore(js, log)})
		ctx := context.Background()
		if _, err := js.JetStream().CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true, FirstSeq: 1000}); err != nil {
			rt.Fatal(err)
		}
		stored := rapid.IntRange(1, 600).Draw(rt, "stored")
		for i := range stored {
			if _, err := js.Publish(ctx, &nats.Msg{Subject: fmt.Sprintf("s.%d", i)}); err != nil {
				rt.Fatal(err)
			}
		}
		var want []uint64
		gap := rapid.IntRange(0, stored).Draw(rt, "gap from")
		end := rapid.IntRange(gap, stored).Draw(rt, "gap to")
		for i := range stored {
			seq := 1000 + uint64(i)
			if i >= gap && i < end || rapid.IntRange(0, 3).Draw(rt, "removed") == 0 {
				if err := js.Remove(ctx, "S", seq); err != nil {
					rt.Fatal(err)
				}
				continue
			}
			want = append(want, seq)
		}
		info, err := js.Info(ctx, "S")
		if err != nil {
			rt.Fatal(err)
		}
		oldest, oneByOne := rapid.Bool().Draw(rt, "oldest first"), rapid.Bool().Draw(rt, "one by one")
		if oneByOne { // as of a stream that is too long
			info.State.Msgs = short + 1
		}
		src := &scanSource{
			view: v, kind: "ready", info: info, oldest: oldest, low: info.State.FirstSeq, high: info.State.LastSeq,
			read: func(m *stream.Message) (Job, bool) { return Job{Seq: m.Seq}, true },
		}
		if !oldest {
			slices.Reverse(want)
		}
		if got := readAll(rt, src); !slices.Equal(got, want) {
			rt.Errorf("read %d: %v, want %d: %v", len(got), got, len(want), want)
		}
	})
}

// readAll reads a source, at times from the middle of what it has read, as the next page does.
func readAll(t *rapid.T, src source) (seqs []uint64) {
	for behind := uint64(0); ; {
		c, err := src.next(context.Background(), behind)
		if err != nil {
			t.Fatal(err)
		}
		rows := c.rows
		if len(rows) > 1 && rapid.Bool().Draw(t, "page ends within") {
			rows = rows[:rapid.IntRange(1, len(rows)-1).Draw(t, "at")]
		}
		for _, r := range rows {
			seqs = append(seqs, r.Seq)
		}
		switch {
		case len(rows) < len(c.rows):
			behind = rows[len(rows)-1].behind
		case c.end:
			return seqs
		default:
			behind = c.behind
		}
	}
}
