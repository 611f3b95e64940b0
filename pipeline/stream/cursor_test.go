package stream

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
	internal "github.com/millhand/millhand/internal/stream"
)

// A stream that ends before what was read of it is not read on. If it has what the cursor says, no more is lost than the
// partition.
func TestStreamEndsBeforeWhatWasRead(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		ctx := t.Context()
		nc := server.Connect(t)
		client, err := internal.New(nc, internal.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		s, err := client.JetStream().CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if _, err := client.JetStream().Publish(ctx, "s", nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			kept, read    uint64
			shorter, lost bool
		}{{kept: 20, read: 20}, {kept: 10, read: 21, lost: true}, {kept: 21, read: 25, shorter: true}} {
			g := &group{ordered: &ordered{cfg: OrderedConfig{Stream: "S"}, nc: nc}, client: client}
			p := newPartition(g, 0, newLease(time.Hour, time.Now(), ErrPartitionLost), 1)
			p.opened, p.kept, p.read, p.made = true, c.kept, c.read, s.CachedInfo().Created
			err := p.check(ctx)
			if errors.Is(err, ErrStreamShorter) != c.shorter || (err != nil) != (c.shorter || c.lost) || (p.lease.Err() != nil) != c.lost {
				t.Errorf("%+v: %v, lease %v", c, err, p.lease.Err())
			}
		}
	})
}

// Of two owners that have read the same cursor, the later one cannot write.
func TestCursorOfTwoOwners(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		ctx := t.Context()
		client, err := internal.New(server.Connect(t), internal.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		cs := &cursors{client: client, group: "g"}
		if err := cs.open(ctx); err != nil {
			t.Fatal(err)
		}
		at, err := cs.write(ctx, 0, &cursor{Epoch: 5, Seq: 100}, 0)
		if err != nil {
			t.Fatal(err)
		}
		late := cursor{Epoch: 6, By: "late", Seq: 100}
		prompt := cursor{Epoch: 6, By: "prompt", Seq: 100}
		second, err := cs.write(ctx, 0, &prompt, at)
		if err != nil {
			t.Fatal(err)
		}
		prompt.Seq = 5000
		third, err := cs.write(ctx, 0, &prompt, second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cs.write(ctx, 0, &late, at); !errors.Is(err, ErrConflict) {
			t.Errorf("the later owner writes: %v", err)
		}
		prompt.Seq = 5001
		if _, err := cs.write(ctx, 0, &prompt, second); err != nil { // the answer to the third write was lost
			t.Errorf("the owner writes behind %d: %v", third, err)
		}
		if now, _, err := cs.read(ctx, 0); err != nil || now.By != "prompt" || now.Seq != 5001 {
			t.Errorf("the cursor is %+v, %v", now, err)
		}
	})
}
