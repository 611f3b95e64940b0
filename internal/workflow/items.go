package workflow

import (
	"encoding/json"
	"strconv"
)

// Limits of the payloads of a group.
const (
	maxItem      = 512 << 10 // bytes of one
	maxItems     = 256 << 20 // of all
	itemsPerFile = 256 << 10 // of one document, unless one payload is longer
)

// Items are the payloads of the jobs of a group, as they are stored: in documents, in their order.
type Items struct {
	Documents [][]byte
	bytes     int
	jobs      int
	open      bool // the last document is not complete
}

// Add adds the payload of the next job of a group. The error is an [*InvalidError].
func (i *Items) Add(group string, payload []byte) error {
	if len(payload) == 0 {
		payload = []byte("null")
	}
	switch i.bytes += len(payload); {
	case i.jobs >= MaxGroup:
		return invalid("step", group, "has more than %d jobs", MaxGroup)
	case len(payload) > maxItem:
		return invalid("step", group, "payload %d has %d bytes, at most %d are allowed", i.jobs, len(payload), maxItem)
	case i.bytes > maxItems:
		return invalid("step", group, "has more than %d bytes of payloads", maxItems)
	case !json.Valid(payload):
		return invalid("step", group, "payload %d is no JSON", i.jobs)
	}
	last := len(i.Documents) - 1
	if i.open && len(i.Documents[last])+len(payload) > itemsPerFile {
		i.Close()
	}
	if i.open {
		i.Documents[last] = append(i.Documents[last], ',')
	} else {
		i.Documents, i.open = append(i.Documents, strconv.AppendInt([]byte(`{"first":`), int64(i.jobs), 10)), true
		last = len(i.Documents) - 1
		i.Documents[last] = append(i.Documents[last], `,"items":[`...)
	}
	i.Documents[last] = append(i.Documents[last], payload...)
	i.jobs++
	return nil
}

// Close completes the last document and returns how many payloads there are.
func (i *Items) Close() int {
	if i.open {
		last := len(i.Documents) - 1
		i.Documents[last] = append(i.Documents[last], "]}"...)
		i.open = false
	}
	return i.jobs
}

// An ItemsDocument is some of the payloads.
type ItemsDocument struct {
	First int               `json:"first"` // the number of the job that the first one is of
	Items []json.RawMessage `json:"items"`
}

// DecodeItems reads one document of [Items]. The error is an [*InvalidError].
func DecodeItems(data []byte) (ItemsDocument, error) {
	var d ItemsDocument
	if err := json.Unmarshal(data, &d); err != nil {
		return ItemsDocument{}, invalid("payloads of a group", "", "are no JSON of them: %v", err)
	}
	if d.First < 0 || d.First > MaxGroup || len(d.Items) > MaxGroup || len(d.Items) == 0 {
		return ItemsDocument{}, invalid("payloads of a group", "", "%d from %d on: want some of at most %d", len(d.Items), d.First, MaxGroup)
	}
	return d, nil
}
