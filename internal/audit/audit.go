// Package audit keeps who did what to the jobs, queues, limits and workers of a namespace: a record of each
// operation that was accepted, in the stream of statistics, for 90 days.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
)

// An Action is what was done. It is the last token of a record's subject.
type Action string

// The actions.
const (
	Retry      Action = "retry"
	Run        Action = "run"
	Cancel     Action = "cancel"
	Delete     Action = "delete"
	Reschedule Action = "reschedule"
	Enqueue    Action = "enqueue"
	Pause      Action = "pause"
	Resume     Action = "resume"
	SetLimit   Action = "limit"
	Drain      Action = "drain"
	Undrain    Action = "undrain"
	PauseCron  Action = "pause_cron"
	ResumeCron Action = "resume_cron"
	RunCron    Action = "run_cron"
	Backup     Action = "backup"
	Restore    Action = "restore"

	StartWorkflow  Action = "start_workflow"
	SignalWorkflow Action = "signal_workflow"
	CancelWorkflow Action = "cancel_workflow"
	RetryWorkflow  Action = "retry_workflow"
	RepairWorkflow Action = "repair_workflow"
)

// A Record says what somebody did. The names of its fields as JSON are a contract.
type Record struct {
	Time   time.Time `json:"time"`           // by the broker's clock
	By     string    `json:"by"`             // who did it: the user of the broker or, with "(cli)" behind, who they say they are
	From   string    `json:"from,omitempty"` // the machine
	Action Action    `json:"action"`
	Filter string    `json:"filter,omitempty"` // of what was meant, or else
	Ref    string    `json:"ref,omitempty"`    // what it was done to
	Count  int       `json:"count"`            // of jobs, queues, limits, workers or workflows
	// Outcome is what became of it: "begun" and then "so far" of an operation on many jobs that is not over,
	// or whose process died.
	Outcome string         `json:"outcome"`
	Detail  string         `json:"detail,omitempty"`  // for people
	Refused map[string]int `json:"refused,omitempty"` // by reason
	Failed  int            `json:"failed,omitempty"`
	Op      string         `json:"op"` // the same in all records of one operation
}

// The outcomes.
const (
	Begun       = "begun"
	SoFar       = "so_far"
	Done        = "done"
	Interrupted = "interrupted"
	Failed      = "failed"
)

const (
	keep        = 90 * 24 * time.Hour
	writeWithin = 5 * time.Second
)

// A Log is the records of a namespace. It is safe for concurrent use.
type Log struct {
	client *stream.Client
	stats  *stats.Store
}

// New returns a log over a client, which stays the caller's. It does no I/O.
func New(c *stream.Client) *Log {
	return &Log{client: c, stats: stats.NewStore(c, slog.New(slog.DiscardHandler))}
}

func (l *Log) subject(a string) string { return l.client.Namespace() + ".stats.audit." + a }

func (l *Log) stream() string { return l.client.Namespace() + "-stats" }

// NewOp names an operation.
func NewOp() string { return uuid.NewString() }

// Write keeps a record. An operation of one record needs no name. It makes the stream if there is none.
// What ends ctx does not end it: what was done is to be known.
func (l *Log) Write(ctx context.Context, r Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeWithin)
	defer cancel()
	if r.Time = time.Now().UTC(); r.Op == "" {
		r.Op = NewOp()
	}
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: l.subject(string(r.Action)), Header: nats.Header{}, Data: body}
	stream.Expire(m, keep)
	_, err = l.client.Publish(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) || stream.Code(err) == stream.CodeStreamNotFound {
		if err = l.stats.Open(ctx); err == nil {
			_, err = l.client.Publish(ctx, m)
		}
	}
	return err
}

// Since yields the records since a time, oldest first, each operation's last one alone, and the error
// last. A zero time is all that are kept.
func (l *Log) Since(ctx context.Context, since time.Time) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		all, err := l.read(ctx, since)
		if err != nil {
			yield(Record{}, err)
			return
		}
		last := make(map[string]int)
		for i := range all {
			last[all[i].Op] = i
		}
		for i := range all {
			if last[all[i].Op] == i && !yield(all[i], nil) {
				return
			}
		}
	}
}

func (l *Log) read(ctx context.Context, since time.Time) (all []Record, err error) {
	info, err := l.client.Info(ctx, l.stream())
	if stream.Code(err) == stream.CodeStreamNotFound || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for m, err := range l.client.Scan(ctx, l.stream(), stream.Scan{Subject: l.subject("*"), UpTo: info.State.LastSeq, Since: since}) {
		if err != nil {
			return nil, err
		}
		var r Record
		if json.Unmarshal(m.Data, &r) == nil { // else it is none of ours
			r.Time = m.Time.UTC()
			all = append(all, r)
		}
	}
	return all, nil
}
