package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MarkerTTL is how long an expired key of a bucket stays visible as such.
const MarkerTTL = time.Second

// bucketTimeout is how long one request to a bucket waits for its answer. A permit hangs on some.
const bucketTimeout = time.Second

// A Bucket is a key-value bucket with a history of 1 and keys that can expire. Whatever is asked
// of it makes it again where it was lost. It is safe for concurrent use.
type Bucket struct {
	client            *Client
	name, description string
	stream            string // that holds it
	pre               string // what a domain puts before the subjects of writes
	peek              bool   // leave it missing where it is
}

// Bucket returns the bucket of the namespace with this name. It does no I/O.
func (c *Client) Bucket(name, description string) *Bucket {
	name = c.cfg.Namespace + "-" + name
	b := &Bucket{client: c, name: name, description: description, stream: "KV_" + name}
	if c.cfg.Domain != "" {
		b.pre = c.api
	}
	return b
}

// Name returns the bucket's name, with its namespace.
func (b *Bucket) Name() string { return b.name }

// Stream returns the name of the stream that holds the bucket.
func (b *Bucket) Stream() string { return b.stream }

// Key returns the key that a subject of the bucket's stream is of.
func (b *Bucket) Key(subject string) string {
	return subject[min(len(b.subject("")), len(subject)):]
}

// Open makes the bucket where it does not exist, and returns when it was made: another time than
// before means that it was lost, with all that was in it.
func (b *Bucket) Open(ctx context.Context) (made time.Time, err error) {
	info, _, err := b.client.Ensure(ctx, b.config())
	if err != nil {
		return time.Time{}, fmt.Errorf("bucket %s: %w", b.name, err)
	}
	return info.Created, nil
}

// config is that of a key-value bucket, made as the other streams of the namespace are.
func (b *Bucket) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              b.stream,
		Description:       b.description,
		Subjects:          []string{b.subject(">")},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		Duplicates:        2 * time.Minute,
		AllowRollup:       true, DenyDelete: true, AllowDirect: true,
		AllowMsgTTL: true, SubjectDeleteMarkerTTL: MarkerTTL,
	}
}

func (b *Bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// An Entry is what a bucket has of a key.
type Entry struct {
	Key     string
	Value   []byte // nil: removed or expired, which stays visible for a while
	Rev     uint64 // the stream's sequence
	Time    time.Time
	TTL     time.Duration // zero: kept for ever
	Expired bool          // rather than removed
}

// entry makes one of what the stream stored.
func (b *Bucket) entry(subject string, rev uint64, h nats.Header, data []byte) Entry {
	e := Entry{Key: b.Key(subject), Rev: rev, Value: data}
	e.Time, _ = time.Parse(time.RFC3339Nano, h.Get(headerTime)) // absent from a consumer's: see [Watch]
	e.TTL, _ = time.ParseDuration(h.Get(headerTTL))             // zero if there is none
	e.Expired = h.Get(headerMarker) != ""
	if e.Expired || h.Get(headerOperation) != "" {
		e.Value = nil
	} else if e.Value == nil {
		e.Value = []byte{}
	}
	return e
}

// A Write is a value for a key, on a condition.
type Write struct {
	Key    string
	Value  []byte
	Remove bool          // instead of setting Value
	TTL    time.Duration // whole seconds; zero: kept for ever

	// If On is set, the newest write to it, wildcards allowed, must have the revision Rev; 0 for
	// none. The key itself is one to set it to.
	On  string
	Rev uint64
}

// Put writes once and returns the revision. It returns [ErrConflict] if the condition does not
// hold. With any other error it may be written or not.
func (b *Bucket) Put(ctx context.Context, w Write) (rev uint64, err error) {
	m := &nats.Msg{Subject: b.pre + b.subject(w.Key), Header: nats.Header{}, Data: w.Value}
	if w.Remove {
		m.Header[headerOperation] = []string{"PURGE"}
		m.Header[headerRollup] = []string{"sub"}
	}
	if w.TTL > 0 {
		m.Header[headerTTL] = []string{w.TTL.String()}
	}
	if w.On != "" {
		expectOn(m, w.Rev, b.subject(w.On), w.On == w.Key)
	}
	rev, err = b.put(ctx, m)
	switch {
	case err == nil, errors.Is(err, ErrConflict):
		return rev, err
	case Code(err) == CodeWrongLastSeqBusy:
		return 0, ErrConflict
	}
	return 0, fmt.Errorf("write %s: %w", w.Key, err)
}

func (b *Bucket) put(ctx context.Context, m *nats.Msg) (rev uint64, err error) {
	short, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	rev, err = b.client.Publish(short, m)
	return rev, b.remake(ctx, err)
}

// Purge removes a key at once and leaves no trace of it, and returns how many entries there were.
func (b *Bucket) Purge(ctx context.Context, key string) (removed uint64, err error) {
	return b.client.Purge(ctx, b.stream, Purge{Subject: b.subject(key)})
}

// Get returns a key as the stream's leader knows it, or [ErrNotFound].
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	e, err := b.Last(ctx, key)
	if err == nil && e.Value == nil {
		return Entry{}, ErrNotFound
	}
	return e, err
}

// Last returns what was written last to a key, or to any that matches, as the stream's leader
// knows it: be it a removal. It returns [ErrNotFound] if there is nothing.
func (b *Bucket) Last(ctx context.Context, filter string) (Entry, error) {
	short, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	m, err := b.client.Last(short, b.stream, b.subject(filter))
	if err != nil {
		return Entry{}, b.remake(ctx, err)
	}
	e := b.entry(m.Subject, m.Seq, m.Header, m.Data)
	e.Time = m.Time
	return e, nil
}

// remake makes the bucket again if err says that nobody listens: it may be lost. The next request
// finds it.
func (b *Bucket) remake(ctx context.Context, err error) error {
	if errors.Is(err, nats.ErrNoResponders) && !b.peek {
		if _, failed := b.Open(ctx); failed != nil {
			return failed
		}
	}
	return err
}
