package view

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/registry"
)

// A Snapshot is a namespace at one time, as far as it could be read. The names of its fields as JSON
// are a contract.
type Snapshot struct {
	Namespace string    `json:"namespace"`
	At        time.Time `json:"at"` // when it was begun, by the broker's clock if that is known
	Server    Server    `json:"server"`

	Queues  []Queue         `json:"queues"`  // sorted by name
	Workers []registry.Node `json:"workers"` // sorted by id
	Pools   []Pool          `json:"pools"`   // sorted by kind and name
	Dead    Count           `json:"dead"`

	Pipelines []Pipeline      `json:"pipelines,omitempty"` // sorted by name
	Readers   []registry.Node `json:"-"`                   // processes whose pipelines read streams, which are no workers

	Streams []Stream `json:"streams"` // sorted by name

	Missing []Missing `json:"missing,omitempty"` // what could not be read

	Took time.Duration `json:"-"` // to read all this
}

// A Server is the one that this process is connected to.
type Server struct {
	URL     string `json:"url"` // without a password
	Name    string `json:"name,omitempty"`
	Version string `json:"version"`
	Cluster string `json:"cluster,omitempty"`
}

// A Missing says what a snapshot lacks, and why.
type Missing struct {
	What string `json:"what"` // "consumers of queue default"
	// Queue is the one whose counts are not known for that; empty: of none.
	Queue string `json:"-"`
	Err   error  `json:"-"`
	Why   string `json:"why"` // the text of Err
}

// A Queue is a queue and its types.
type Queue struct {
	Name   string          `json:"name"`
	Paused *registry.Pause `json:"paused,omitempty"`

	Messages Count  `json:"messages"` // all that the stream has
	Bytes    Count  `json:"bytes"`
	LastSeq  uint64 `json:"last_seq"` // of the stream: what was published, over time

	Ready     Count `json:"ready"`     // not handed out to a worker
	InHand    Count `json:"in_hand"`   // handed out and not acknowledged
	Running   Count `json:"running"`   // as the workers say
	Later     Count `json:"later"`     // waiting for their time
	Scheduled Count `json:"scheduled"` // of those, with no failed run
	Retrying  Count `json:"retrying"`  // of those, after a failed run
	Held      Count `json:"held"`      // ids that are kept taken after their jobs have ended
	Unclaimed Count `json:"unclaimed"` // ready, of types that no worker has ever served; not in Ready

	Types []Type `json:"types"` // sorted by name
}

// A Type is a type in one queue.
type Type struct {
	Name  string `json:"name"`
	Queue string `json:"queue"`
	Key   string `json:"key,omitempty"` // whose limits it shares

	Paused *registry.Pause `json:"paused,omitempty"` // by itself, in this queue

	Ready   Count  `json:"ready"`
	InHand  Count  `json:"in_hand"`
	Running Count  `json:"running"`
	Claimed Count  `json:"claimed"` // that the workers say they have in hand; unknown with workers of earlier versions
	Oldest  Oldest `json:"oldest_ready"`

	Consumer    bool      `json:"consumer"`             // a worker has served it at some time
	Workers     int       `json:"workers"`              // that serve it now, and are not draining
	Draining    int       `json:"draining,omitempty"`   // that serve it, and are
	Pulls       int       `json:"pulls"`                // requests of workers that wait for jobs
	Redelivered int       `json:"redelivered"`          // of those in hand, handed out again since their first lease ended
	Delivered   uint64    `json:"delivered_seq"`        // the sequence up to which jobs were handed out
	LastActive  time.Time `json:"last_active,omitzero"` // when one was last handed out

	Info *jetstream.ConsumerInfo `json:"-"` // nil: there is none, or it was not read
}

// A Pool is a limit, with who has what of it.
type Pool struct {
	Name   string          `json:"name"` // "import", "key=crm", "queue=default"
	Kind   string          `json:"kind"` // type, key or queue
	Rate   bool            `json:"rate"` // jobs may start in a period, rather than run at once
	Limit  int             `json:"limit"`
	Per    string          `json:"per,omitempty"` // of a rate, a duration
	Held   int             `json:"held"`          // permits that workers have
	Used   int             `json:"used"`          // of those, by what runs
	Want   int             `json:"want"`          // permits that the workers could use
	Source registry.Source `json:"source,omitempty"`
	By     string          `json:"by,omitempty"`    // the person who set it, if that is known
	Set    time.Time       `json:"set,omitzero"`    // by the broker's clock
	Types  []string        `json:"types,omitempty"` // of a key: who share it
	Grants []Grant         `json:"grants"`          // sorted by worker
}

// A Grant is what a worker has of a pool.
type Grant struct {
	Worker string `json:"worker"`
	registry.Grant
}

// A Stream is one of the namespace's streams.
type Stream struct {
	Name      string    `json:"name"`
	Queue     string    `json:"queue,omitempty"` // whose it is
	Messages  Count     `json:"messages"`
	Bytes     Count     `json:"bytes"`
	FirstSeq  uint64    `json:"first_seq"`
	LastSeq   uint64    `json:"last_seq"`
	FirstTime time.Time `json:"first_time,omitzero"`
	LastTime  time.Time `json:"last_time,omitzero"`
	Leader    string    `json:"leader,omitempty"` // empty on a server by itself, or if there is none
	Replicas  []Replica `json:"replicas,omitempty"`

	Info *jetstream.StreamInfo `json:"-"` // nil: it was not read
}

// A Replica is a copy of a stream, beside the leader's.
type Replica struct {
	Server  string        `json:"server"`
	Current bool          `json:"current"`
	Offline bool          `json:"offline,omitempty"`
	Active  time.Duration `json:"active_ns"` // since it was last heard of
	Lag     uint64        `json:"lag"`       // operations that it is behind
}
