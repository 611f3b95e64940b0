package verify

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
)

// A fact is something that is read only if a check needs it. The snapshot always is.
type fact string

const (
	ofAccount fact = "the streams of the account"
	ofHeads   fact = "the first messages of the queues"
	ofWaiting fact = "a sample of the jobs that are alive"
	ofEvents  fact = "the events"
	ofDead    fact = "the records of dead jobs"
	ofRunning fact = "what the workers run"
	ofHands   fact = "what is handed out"
	ofEntries fact = "the registry"
	ofCrons   fact = "the entries of schedules"
	ofLate    fact = "what is overdue or served by nobody"
)

// Facts are what one look saw.
type Facts struct {
	Snapshot *view.Snapshot

	Server     stream.Server
	MaxPayload int64
	Account    []*jetstream.StreamInfo
	Own        map[string]bool       // streams that Millhand made
	Faults     map[string][]string   // of the streams of queues, by name
	Consumers  map[string][]Consumer // by queue
	Heads      map[string]Head       // by queue

	Waiting []Waiting // those that are looked at more closely
	Sampled Sampled
	Ledger  *Ledger
	Dead    []Record // the newest, the oldest first

	Running []registry.Running   // as the workers say
	Claims  []Claim              // of those that run
	Keyed   map[string]time.Time // when a type got the key that it has
	Hands   []Hand               // handed out, where the workers have less in hand than that

	Entries []stream.Entry // of the registry
	Crons   []Schedule
	Late    []Waiting // overdue
	Orphans []Orphan  // of types that the snapshot does not know, since it did not count them

	failed map[fact]error
}

// A Consumer is what is wrong with one.
type Consumer struct {
	Name   string
	Faults []string `json:",omitempty"`
}

// A Head is the first message of a queue's stream. The zero value says that it has none.
type Head struct {
	Subject string
	Seq     uint64
	Pin     bool // as it should be
}

// Sampled says how many jobs that are alive were looked at.
type Sampled struct{ Jobs, Of int64 }

// Waiting is a job that is alive, as its message has it, with its last event.
type Waiting struct {
	Queue, Type, ID, Life string
	Seq                   uint64
	Stored, RunAt         time.Time
	Attempt, MaxAttempts  int
	Crashes               int
	End                   *End `json:",omitempty"` // that was written of its life
}

// An End is a final event.
type End struct {
	Kind job.EventKind
	Seq  uint64
	At   time.Time // when it was stored
}

// A Record is that of a dead job, with the last event of its id.
type Record struct {
	Queue, Type, ID, Life string
	Seq                   uint64
	DiedAt                time.Time
	Attempt, MaxAttempts  int
	Crashes               int
	LastLife              string        // of the last event; empty: there is none
	LastKind              job.EventKind // of that
}

// A Claim is a job that a worker says it runs, with its message.
type Claim struct {
	registry.Running
	Message   uint64 // its sequence; 0: there is none
	Delivered uint64 // up to which jobs of its type were handed out, when the snapshot was taken
}

// A Hand is a message that was handed out and is not acknowledged, and that nobody says he runs.
type Hand struct {
	Queue, Type, ID string
	Seq             uint64
	Served          bool // a worker that is there serves its type
	Asked           bool // requests of workers wait for jobs of its type
}

// An Orphan is a type that no worker has ever served, with ready jobs that were seen.
type Orphan struct {
	Queue, Type string
	Seen        int64
	First       uint64 // the sequence of the first
}

// A Schedule is an entry of cron, with how far it has come.
type Schedule struct {
	registry.Cron
	Cursor cron.Cursor
	Now    time.Time
}

// events is the stream of events; nil if it is not there or was not read.
func (f *Facts) stream(name string) *view.Stream {
	for i := range f.Snapshot.Streams {
		if s := &f.Snapshot.Streams[i]; s.Name == name {
			return s
		}
	}
	return nil
}

func (f *Facts) events() *view.Stream { return f.stream(f.Snapshot.Namespace + "-events") }
func (f *Facts) dead() *view.Stream   { return f.stream(f.Snapshot.Namespace + "-dead") }

// end is the final event of a life, nil if e is not that.
func endOf(e *queue.Event, life string, stored time.Time) *End {
	if e == nil || !e.Kind.Final() || e.Life != life {
		return nil
	}
	return &End{Kind: e.Kind, Seq: e.Sequence, At: stored}
}
