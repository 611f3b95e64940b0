package job

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// The headers of a job's message. All are optional; docs/wire.md is their contract.
const (
	HeaderLife        = "Millhand-Life"
	HeaderAttempt     = "Millhand-Attempt"
	HeaderCrashes     = "Millhand-Crashes"
	HeaderMaxAttempts = "Millhand-Max-Attempts"
	HeaderTimeout     = "Millhand-Timeout"
	HeaderExpires     = "Millhand-Expires"
	HeaderEnqueuedAt  = "Millhand-Enqueued-At"
	HeaderDue         = "Millhand-Due"
	HeaderStarted     = "Millhand-Started"
	HeaderLastEvent   = "Millhand-Last-Event"
	HeaderFrom        = "Millhand-From"
	HeaderUniqueUntil = "Millhand-Unique-Until"
	HeaderOnce        = "Millhand-Once"
	HeaderAwait       = "Millhand-Await"
	HeaderRunTrace    = "Millhand-Run-Trace"
	HeaderRetryOf     = "Millhand-Retry-Of"
	HeaderCron        = "Millhand-Cron"
	HeaderCronRev     = "Millhand-Cron-Rev"
	HeaderTick        = "Millhand-Tick"
	HeaderWorkflow    = "Millhand-Workflow"
	HeaderMeta        = "Millhand-Meta-" // prefix
	headerTraceParent = "traceparent"
	headerTraceState  = "tracestate"
)

// Limits of what a header may say.
const (
	MaxMaxAttempts = 1_000_000 // that a job or a type may ask for
	maxLife        = 64
	maxWorkflow    = 160
	maxMetaKey     = 64
	maxMeta        = 16 << 10 // bytes, keys and values together
	maxTrace       = 8 << 10  // bytes, both headers together
)

// A HeaderError says which header of a message cannot be read.
type HeaderError struct {
	Header, Value string
	Rule          string
}

func (e *HeaderError) Error() string {
	if e.Value == "" { // the rule says what there was
		return fmt.Sprintf("header %s: %s", e.Header, e.Rule)
	}
	return fmt.Sprintf("header %s: %s, got %q", e.Header, e.Rule, e.Value)
}

// Header returns the headers that carry r, payload, queue, type and id apart.
func (r *Record) Header() map[string][]string {
	h := make(map[string][]string, 4+len(r.Meta))
	r.SetHeader(h)
	return h
}

// SetHeader replaces what h holds with the headers of r. It uses the memory again: a key of
// before may stay, without a value.
func (r *Record) SetHeader(h map[string][]string) {
	for key, values := range h {
		h[key] = values[:0]
	}
	set := func(key, value string) {
		if value != "" {
			h[key] = append(h[key], value)
		}
	}
	set(HeaderLife, r.Life)
	if r.Attempt > 1 {
		set(HeaderAttempt, strconv.Itoa(r.Attempt))
	}
	set(HeaderCrashes, positive(r.Crashes))
	set(HeaderMaxAttempts, positive(r.MaxAttempts))
	set(HeaderTimeout, duration(r.Timeout))
	set(HeaderExpires, duration(r.Expires))
	set(HeaderEnqueuedAt, utc(r.EnqueuedAt))
	set(HeaderDue, utc(r.Due))
	set(HeaderStarted, flag(r.Started))
	set(HeaderLastEvent, sequence(r.LastEvent))
	set(HeaderFrom, r.From)
	set(HeaderUniqueUntil, utc(r.UniqueUntil))
	set(HeaderOnce, flag(r.Reused))
	set(HeaderAwait, flag(r.Awaited))
	set(HeaderRetryOf, r.RetryOf)
	set(HeaderRunTrace, r.RunTrace)
	set(HeaderWorkflow, r.Workflow)
	if t := r.Tick; t != nil {
		set(HeaderCron, t.Entry)
		set(HeaderCronRev, sequence(t.Rev))
		if !t.Time.IsZero() {
			set(HeaderTick, t.Time.Format(time.RFC3339Nano))
		}
	}
	for k, v := range r.Meta {
		h[HeaderMeta+k] = append(h[HeaderMeta+k], v)
	}
	for k, v := range r.Trace {
		h[k] = append(h[k], v)
	}
}

// ReadHeader fills r from a message's headers. Headers of others are left alone.
// It returns a [*HeaderError] for one that breaks its rule, of several the first by name; r then
// holds what could be read and can be written again, so that the broken job can still be buried
// as what it is.
func (r *Record) ReadHeader(h map[string][]string) error {
	r.Attempt = 1
	var d decoder
	for key, values := range h { // a message has few of all there are
		if len(values) == 0 || values[0] == "" && !strings.HasPrefix(key, HeaderMeta) {
			continue
		}
		d.key, d.value = key, values[0]
		r.readHeader(&d)
	}
	meta, trace := r.dropBadMeta(), r.dropBadTrace()
	if d.err != nil {
		return d.err
	}
	return cmp.Or(meta, trace)
}

// readHeader reads the header that d is at.
func (r *Record) readHeader(d *decoder) {
	switch d.key {
	case HeaderLife:
		r.Life = d.text(maxLife)
	case HeaderAttempt:
		r.Attempt = max(d.count(MaxMaxAttempts), 1)
	case HeaderCrashes:
		r.Crashes = d.count(MaxMaxAttempts)
	case HeaderMaxAttempts:
		r.MaxAttempts = d.count(MaxMaxAttempts)
	case HeaderTimeout:
		r.Timeout = d.duration()
	case HeaderExpires:
		r.Expires = d.duration()
	case HeaderEnqueuedAt:
		r.EnqueuedAt = d.time().UTC()
	case HeaderDue:
		r.Due = d.time().UTC()
	case HeaderStarted:
		r.Started = d.flag()
	case HeaderLastEvent:
		r.LastEvent = d.sequence()
	case HeaderFrom:
		r.From = d.text(maxID)
	case HeaderUniqueUntil:
		r.UniqueUntil = d.time().UTC()
	case HeaderOnce:
		r.Reused = d.flag()
	case HeaderAwait:
		r.Awaited = d.flag()
	case HeaderRetryOf:
		r.RetryOf = d.text(maxLife)
	case HeaderRunTrace:
		r.RunTrace = d.text(maxLife)
	case HeaderWorkflow:
		r.Workflow = d.text(maxWorkflow)
	case HeaderCron, HeaderCronRev, HeaderTick:
		r.readTick(d)
	case headerTraceParent, headerTraceState:
		r.Trace = with(r.Trace, d.key, d.value)
	default:
		if name, ok := strings.CutPrefix(d.key, HeaderMeta); ok {
			r.Meta = with(r.Meta, name, d.value)
		}
	}
}

func (r *Record) readTick(d *decoder) {
	if r.Tick == nil {
		r.Tick = new(Tick)
	}
	switch d.key {
	case HeaderCron:
		r.Tick.Entry = d.text(maxName)
	case HeaderCronRev:
		r.Tick.Rev = d.sequence()
	case HeaderTick:
		r.Tick.Time = d.time()
	}
}

// dropBadMeta takes what cannot be written again from the metadata, all of it if that is too
// much, and says what.
func (r *Record) dropBadMeta() error {
	err := CheckMeta(r.Meta)
	if err == nil {
		return nil
	}
	maps.DeleteFunc(r.Meta, func(k, v string) bool { return checkMeta(k, v) != nil })
	if CheckMeta(r.Meta) != nil {
		r.Meta = nil
	}
	return &HeaderError{Header: HeaderMeta + "*", Rule: err.Error()}
}

// dropBadTrace does so with what others trace the job by.
func (r *Record) dropBadTrace() error {
	size := 0
	for k, v := range r.Trace {
		size += len(k) + len(v)
		if !writable(v) {
			delete(r.Trace, k)
			return &HeaderError{Header: k, Value: v, Rule: "a value has no line breaks and no space around it"}
		}
	}
	if size > maxTrace {
		r.Trace = nil
		return &HeaderError{
			Header: headerTraceParent + " and " + headerTraceState,
			Rule:   fmt.Sprintf("at most %d bytes together are allowed, got %d", maxTrace, size),
		}
	}
	return nil
}

// CheckMeta returns an error if m cannot travel in headers. Of several it is the one of the
// first key.
func CheckMeta(m map[string]string) error {
	size, first := 0, ""
	var bad error
	for k, v := range m {
		if err := checkMeta(k, v); err != nil && (bad == nil || k < first) {
			first, bad = k, err
		}
		size += len(k) + len(v)
	}
	if bad != nil {
		return bad
	}
	if size > maxMeta {
		return &InvalidError{What: "meta", Rule: fmt.Sprintf("has %d bytes, at most %d are allowed", size, maxMeta)}
	}
	return nil
}

// CheckTrace returns an error if m is not what traces a job.
func CheckTrace(m map[string]string) error {
	size := 0
	for k, v := range m {
		switch {
		case k != headerTraceParent && k != headerTraceState:
			return &InvalidError{What: "trace", Name: k, Rule: "only traceparent and tracestate are allowed: put it into meta"}
		case !writable(v):
			return &InvalidError{What: "trace", Name: k, Rule: "a value has no line breaks and no space around it"}
		}
		size += len(k) + len(v)
	}
	if size > maxTrace {
		return &InvalidError{What: "trace", Rule: fmt.Sprintf("has %d bytes, at most %d are allowed", size, maxTrace)}
	}
	return nil
}

func checkMeta(k, v string) error {
	if err := check("meta key", k, maxMetaKey); err != nil {
		return err
	}
	if !writable(v) {
		return &InvalidError{What: "meta", Name: k, Rule: "a value has no line breaks and no space around it"}
	}
	return nil
}

// writable reports whether a header brings v back as it is.
func writable(v string) bool {
	return !strings.ContainsAny(v, "\r\n\x00") && strings.TrimSpace(v) == v
}

func with(m map[string]string, k, v string) map[string]string {
	if m == nil {
		m = make(map[string]string)
	}
	m[k] = v
	return m
}

func positive(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func sequence(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

func duration(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return d.String()
}

func utc(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func flag(set bool) string {
	if !set {
		return ""
	}
	return "1"
}
