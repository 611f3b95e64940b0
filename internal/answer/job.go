package answer

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/view"
)

// A Payload is a payload or a result as it is, one of both.
type Payload struct {
	Payload       json.RawMessage `json:"payload,omitempty"`
	PayloadBase64 []byte          `json:"payload_base64,omitempty"` // of what is no JSON
}

// PayloadOf is one of some bytes.
func PayloadOf(b []byte) Payload {
	if json.Valid(b) && utf8.Valid(b) {
		return Payload{Payload: b}
	}
	return Payload{PayloadBase64: b}
}

// A Listed job is one in a list. Its payload is there if it was asked for.
type Listed struct {
	view.Job
	Payload
}

// A ListedPage is a part of a list.
type ListedPage struct {
	Jobs   []Listed     `json:"jobs"`
	Class  filter.Class `json:"class"`
	Total  view.Count   `json:"total"`
	Looked view.Looked  `json:"looked"`
	Cursor string       `json:"cursor,omitempty"`
}

// A Detail is that which is known of a job, with the payload as it is.
type Detail struct {
	*view.Detail
	Payload

	HeldUntil string `json:"held_until,omitempty"` // the id is taken until then
}

// DetailOf is a job with a payload.
func DetailOf(d *view.Detail, payload []byte) Detail {
	out := Detail{Detail: d, Payload: PayloadOf(payload)}
	if d.Hold != nil && !d.Hold.Until.IsZero() {
		out.HeldUntil = d.Hold.Until.UTC().Format("2006-01-02T15:04:05.999Z07:00")
	}
	return out
}
