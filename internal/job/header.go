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
	HeaderLastEvent   = "Millhand-Last-Event"
	HeaderFrom        = "Millhand-From"
	HeaderMeta        = "Millhand-Meta-" // prefix
	headerTraceParent = "traceparent"
	headerTraceState  = "tracestate"
)

// Limits of what a header may say.
const (
	MaxMaxAttempts = 1_000_000 // that a job or a type may ask for
	maxLife        = 64
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
	if !r.EnqueuedAt.IsZero() {
		set(HeaderEnqueuedAt, r.EnqueuedAt.UTC().Format(time.RFC3339Nano))
	}
	if r.LastEvent > 0 {
		set(HeaderLastEvent, strconv.FormatUint(r.LastEvent, 10))
	}
	set(HeaderFrom, r.From)
	for k, v := range r.Meta {
		h[HeaderMeta+k] = append(h[HeaderMeta+k], v)
	}
	for k, v := range r.Trace {
		h[k] = append(h[k], v)
	}
}

// ReadHeader fills r from a message's headers. Headers of others are left alone.
// It returns a [*HeaderError] for the first one that breaks its rule; r then holds
// what could be read and can be written again, so that the broken job can still be buried
// as what it is.
func (r *Record) ReadHeader(h map[string][]string) error {
	r.Attempt = 1
	d := decoder{header: h}
	r.Life = d.text(HeaderLife, maxLife)
	if n := d.count(HeaderAttempt, MaxMaxAttempts); n > 0 {
		r.Attempt = n
	}
	r.Crashes = d.count(HeaderCrashes, MaxMaxAttempts)
	r.MaxAttempts = d.count(HeaderMaxAttempts, MaxMaxAttempts)
	r.Timeout = d.duration(HeaderTimeout)
	r.Expires = d.duration(HeaderExpires)
	r.EnqueuedAt = d.time(HeaderEnqueuedAt)
	r.LastEvent = d.sequence(HeaderLastEvent)
	r.From = d.text(HeaderFrom, maxID)
	for key, values := range h {
		name, isMeta := strings.CutPrefix(key, HeaderMeta)
		switch {
		case len(values) == 0:
		case isMeta:
			r.Meta = with(r.Meta, name, values[0])
		case key == headerTraceParent, key == headerTraceState:
			r.Trace = with(r.Trace, key, values[0])
		}
	}
	return cmp.Or(d.err, r.dropBadMeta(), r.dropBadTrace())
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

func duration(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return d.String()
}

// decoder reads headers and keeps the first error.
type decoder struct {
	header map[string][]string
	err    error
}

func (d *decoder) get(key string) string {
	if v := d.header[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (d *decoder) fail(key, rule string) {
	if d.err == nil {
		d.err = &HeaderError{Header: key, Value: d.get(key), Rule: rule}
	}
}

func (d *decoder) text(key string, most int) string {
	v := d.get(key)
	// An event carries it as JSON, which would replace what is no text: the job would
	// not know its own events any more.
	if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
		d.fail(key, "only printable ASCII is allowed")
		return ""
	}
	if len(v) > most {
		d.fail(key, fmt.Sprintf("at most %d characters", most))
		return v[:most]
	}
	return v
}

func (d *decoder) count(key string, most int) int {
	v := d.get(key)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > most {
		d.fail(key, fmt.Sprintf("want a number from 0 to %d", most))
		return 0
	}
	return n
}

func (d *decoder) sequence(key string) uint64 {
	v := d.get(key)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		d.fail(key, "want a sequence number")
	}
	return n
}

func (d *decoder) duration(key string) time.Duration {
	v := d.get(key)
	if v == "" {
		return 0
	}
	t, err := time.ParseDuration(v)
	if err != nil || t < 0 {
		d.fail(key, "want a duration such as 30s")
		return 0
	}
	return t
}

func (d *decoder) time(key string) time.Time {
	v := d.get(key)
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if year := t.UTC().Year(); err != nil || year < 1 || year > 9999 { // could not be written again
		d.fail(key, "want an RFC 3339 time")
		return time.Time{}
	}
	return t.UTC()
}
