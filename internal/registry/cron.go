package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/cron"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// A Cron is an entry of a schedule: when, and which job. Of a removed one there is no job.
type Cron struct {
	cron.Entry
	Job    job.Record // what all its jobs have in common: all but id, life and times
	Paused *Pause     // nil: it is not; set by [Store.Crons] alone, since to a node it is removed
}

// cronValue is an entry as the bucket has it.
type cronValue struct {
	Removed bool        `json:"removed,omitempty"` // nothing else is there then, but for Paused
	Paused  *pausedCron `json:"paused,omitempty"`  // it is removed until somebody resumes it

	Schedule string    `json:"schedule,omitempty"`
	Zone     string    `json:"zone,omitempty"`
	Since    time.Time `json:"since,omitzero"` // when the schedule was first put; zero: with this very write

	Queue         string            `json:"queue,omitempty"`
	Type          string            `json:"type,omitempty"`
	Payload       json.RawMessage   `json:"payload,omitempty"`
	PayloadBase64 []byte            `json:"payload_base64,omitempty"` // of one that JSON would change
	MaxAttempts   int               `json:"max_attempts,omitempty"`
	Timeout       string            `json:"timeout,omitempty"`
	Expires       string            `json:"expires,omitempty"`
	Meta          map[string]string `json:"meta,omitempty"`
	Trace         map[string]string `json:"trace,omitempty"`

	Overlap cron.Overlap `json:"overlap,omitempty"`
	CatchUp cron.CatchUp `json:"catch_up,omitempty"`
	Grace   string       `json:"grace,omitempty"`
}

// maxCronPayload is the largest payload of an entry, bytes.
const maxCronPayload = 64 << 10

// Check returns an error about the rule that c breaks, if any.
func (c Cron) Check() error {
	if err := job.CheckCron(c.Name); err != nil {
		return err
	}
	if err := c.Entry.Check(); err != nil {
		return invalidCron(err)
	}
	if n := len(c.Job.Payload); n > maxCronPayload {
		return &job.InvalidError{What: fmt.Sprintf("payload of %d bytes", n), Rule: fmt.Sprintf("is over the limit of %d KiB for an entry, which every worker keeps; store it elsewhere and send a reference", maxCronPayload>>10)}
	}
	r := c.Job
	r.ID = c.Name
	return r.Check()
}

// invalidCron makes an error about an entry one like those about jobs.
func invalidCron(err error) error {
	if i, ok := errors.AsType[*cron.InvalidError](err); ok {
		return (*job.InvalidError)(i)
	}
	return err
}

// encodeCron returns the value of an entry whose schedule was first put at a time.
func encodeCron(c Cron, since time.Time) []byte {
	v := cronValue{
		Schedule: c.Schedule.String(), Zone: c.Schedule.ZoneName(), Since: since,
		Queue: c.Job.Queue, Type: c.Job.Type, MaxAttempts: c.Job.MaxAttempts,
		Timeout: encodeDuration(c.Job.Timeout), Expires: encodeDuration(c.Job.Expires), Meta: c.Job.Meta, Trace: c.Job.Trace,
		Overlap: c.Overlap, CatchUp: c.CatchUp, Grace: c.Grace.String(),
	}
	v.setPayload(c.Job.Payload)
	return encodeCronValue(v)
}

func encodeCronValue(v cronValue) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // the payload stays as it is
	if err := enc.Encode(v); err != nil {
		panic(err) // numbers, strings, times, and JSON that was checked
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func encodeDuration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// setPayload keeps it readable where that keeps its bytes.
func (v *cronValue) setPayload(payload []byte) {
	var compact bytes.Buffer
	if json.Compact(&compact, payload) == nil && bytes.Equal(compact.Bytes(), payload) {
		v.Payload = payload
		return
	}
	v.PayloadBase64 = payload
}

// decodeCron reads an entry. One that was removed, in whichever way, is an entry as well.
func decodeCron(e stream.Entry) (Cron, error) {
	name, ok := strings.CutPrefix(e.Key, cronKeys+".")
	if !ok || job.CheckCron(name) != nil {
		return Cron{}, errUnreadable
	}
	c := Cron{Entry: cron.Entry{Name: name, Rev: e.Rev, Edited: e.Time}}
	var v cronValue
	if e.Value == nil {
		v.Removed = true
	} else if err := json.Unmarshal(e.Value, &v); err != nil {
		return Cron{}, err
	}
	if c.Removed = v.Removed; c.Removed {
		return c, nil
	}
	if v.Since.IsZero() {
		v.Since = e.Time
	}
	schedule, err := cron.Parse(v.Schedule, v.Zone, v.Since)
	if err != nil {
		return Cron{}, err
	}
	d := durations{}
	c.Schedule, c.Overlap, c.CatchUp, c.Grace = schedule, v.Overlap, v.CatchUp, d.parse(v.Grace)
	c.Job = job.Record{
		Queue: v.Queue, Type: v.Type, Payload: v.PayloadBase64, MaxAttempts: v.MaxAttempts,
		Timeout: d.parse(v.Timeout), Expires: d.parse(v.Expires), Meta: v.Meta, Trace: v.Trace,
	}
	if v.Payload != nil {
		c.Job.Payload = v.Payload
	}
	c = c.withDefaults(v)
	return c, errors.Join(d.err, c.Check())
}

// withDefaults completes what another program left out.
func (c Cron) withDefaults(v cronValue) Cron {
	if c.Job.Queue == "" {
		c.Job.Queue = job.DefaultQueue
	}
	if c.Overlap == "" {
		c.Overlap = cron.SkipOverlap
	}
	if c.CatchUp == "" {
		c.CatchUp = cron.CatchUpOne
	}
	if v.Grace == "" {
		c.Grace = cron.DefaultGrace
	}
	return c
}

// durations reads texts and keeps the first error.
type durations struct{ err error }

func (d *durations) parse(text string) time.Duration {
	if text == "" {
		return 0
	}
	v, err := time.ParseDuration(text)
	if err != nil && d.err == nil {
		d.err = err
	}
	return v
}
