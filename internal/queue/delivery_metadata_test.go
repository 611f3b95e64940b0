package queue

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

// The reply subject is read as nats.go reads it, in whichever form it comes.
func TestDeliveryIsReadAsByTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func(name string) uint64 { return rapid.Uint64Max(1<<62).Draw(t, name) }
		tail := fmt.Sprintf("S.C.%d.%d.%d.%d.%d", n("delivered"), n("seq"), n("consumer seq"), n("time"), n("pending"))
		reply := "$JS.ACK." + rapid.SampledFrom([]string{"", "", "", "_.HASH.", "D.HASH.", "x."}).Draw(t, "domain") + tail +
			rapid.SampledFrom([]string{"", "", ".random", ".", "x"}).Draw(t, "end")
		m := &nats.Msg{Reply: reply, Sub: new(nats.Subscription)}
		got, err := readMetadata(m)
		md, wantErr := m.Metadata()
		if wantErr != nil {
			return
		}
		want := metadata{seq: md.Sequence.Stream, delivered: md.NumDelivered, pending: md.NumPending, time: md.Timestamp}
		if err != nil || got.seq != want.seq || got.delivered != want.delivered || got.pending != want.pending || !got.time.Equal(want.time) {
			t.Fatalf("%s: %+v, %v, want %+v", reply, got, err, want)
		}
	})
}
