package stream

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
		got, err := ReadMetadata(m)
		md, wantErr := m.Metadata()
		if wantErr != nil {
			return
		}
		want := Metadata{Seq: md.Sequence.Stream, ConsumerSeq: md.Sequence.Consumer, Delivered: md.NumDelivered, Pending: md.NumPending, Time: md.Timestamp}
		if !got.Time.Equal(want.Time) {
			t.Fatalf("%s: %v, want %v", reply, got.Time, want.Time)
		}
		if got.Time = want.Time; err != nil || got != want {
			t.Fatalf("%s: %+v, %v, want %+v", reply, got, err, want)
		}
	})
}
