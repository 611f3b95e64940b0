package stream

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of the server.
const (
	HeaderExpectedSeq    = "Nats-Expected-Last-Subject-Sequence"
	headerExpectedOn     = "Nats-Expected-Last-Subject-Sequence-Subject"
	HeaderMsgID          = "Nats-Msg-Id"
	HeaderSchedule       = "Nats-Schedule"
	HeaderTarget         = "Nats-Schedule-Target"
	HeaderScheduleRollup = "Nats-Schedule-Rollup"
	HeaderScheduler      = "Nats-Scheduler"
	HeaderScheduleNext   = "Nats-Schedule-Next"
	HeaderPendingMsgs    = "Nats-Pending-Messages"
	HeaderStatus         = "Status"
	HeaderDescription    = "Description"

	headerSubject   = "Nats-Subject"
	headerSequence  = "Nats-Sequence"
	headerTime      = "Nats-Time-Stamp"
	headerTTL       = "Nats-TTL"
	headerRollup    = "Nats-Rollup"
	headerUpTo      = "Nats-UpTo-Sequence"
	headerPending   = "Nats-Num-Pending"
	headerMarker    = "Nats-Marker-Reason"
	headerOperation = "KV-Operation"
)

// statusNoResponders is the [HeaderStatus] of a server that knows nobody who listens.
const statusNoResponders = "503"

// Expire has m removed after a time, which is whole seconds. The stream has to allow that.
func Expire(m *nats.Msg, after time.Duration) { m.Header[headerTTL] = []string{after.String()} }

// Replace has m, once it is stored, be the only message on its subject.
func Replace(m *nats.Msg) { m.Header[headerRollup] = []string{"sub"} }

// Expect makes m conditional: the newest message on filter, wildcards allowed, has the sequence
// seq; 0: there is none.
func Expect(m *nats.Msg, seq uint64, filter string) { expectOn(m, seq, filter, filter == m.Subject) }

// expectOn is Expect with own if the condition is on the very subject that m is stored under.
func expectOn(m *nats.Msg, seq uint64, filter string, own bool) {
	m.Header[HeaderExpectedSeq] = []string{strconv.FormatUint(seq, 10)}
	if !own {
		m.Header[headerExpectedOn] = []string{filter}
	}
}
