package registry

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// A Source says who set a limit, or the key of a type.
type Source string

// The sources of a setting. Whatever does not say that it comes from a configuration is a
// person's: what [Store.SetLimit] and other programs write, what older versions wrote, and what
// cannot be read. So a configuration never replaces what somebody may rely on.
const (
	ByPerson   Source = ""
	ByConfig   Source = "config" // a worker's flags, file or program
	HandedBack Source = "reset"  // by a person: it holds until a worker's configuration replaces it
)

// limitValue is a limit as the bucket has it.
type limitValue struct {
	Limit  int    `json:"limit"`
	Per    string `json:"per,omitempty"`
	Source Source `json:"source,omitempty"`
	By     string `json:"by,omitempty"` // the person, if that is known
}

type keyValue struct {
	Key    string `json:"key,omitempty"`
	Source Source `json:"source,omitempty"`
}

// encodeLimit returns nil for a limit of zero jobs, which is none.
func encodeLimit(l Limit, source Source, by string) []byte {
	if l.Jobs == 0 {
		return nil
	}
	v := limitValue{Limit: l.Jobs, Source: source, By: by}
	if l.Per > 0 {
		v.Per = l.Per.String()
	}
	return encode(v)
}

// encodeKey returns nil for no key.
func encodeKey(key string, source Source) []byte {
	if key == "" {
		return nil
	}
	return encode(keyValue{Key: key, Source: source})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers, strings and times
	}
	return b
}

// errUnreadable says that a setting is there and cannot be read.
var errUnreadable = errors.New("cannot be read")

// decodeLimit reads a limit.
func decodeLimit(b []byte) (l Limit, ok bool) {
	var v limitValue
	if json.Unmarshal(b, &v) != nil || v.Limit <= 0 {
		return Limit{}, false
	}
	l.Jobs = v.Limit
	if v.Per != "" {
		per, err := time.ParseDuration(v.Per)
		if err != nil {
			return Limit{}, false
		}
		l.Per = per
	}
	return l, true
}

// decodeLimitOf is decodeLimit for a key that it has to fit.
func decodeLimitOf(k slots.Key, b []byte) (Limit, bool) {
	l, ok := decodeLimit(b)
	return l, ok && l.check(k) == nil
}

// sourceOf returns who wrote a limit or a key, be the rest of it readable or not.
func sourceOf(value []byte) Source {
	var v struct {
		Source Source `json:"source"`
	}
	_ = json.Unmarshal(value, &v) // what cannot be read is a person's
	return v.Source
}

// setterOf returns the person who wrote a limit, empty if that is not known.
func setterOf(value []byte) string {
	var v struct {
		By string `json:"by"`
	}
	_ = json.Unmarshal(value, &v) // then it is not known
	return v.By
}

// UnmarshalJSON implements [json.Unmarshaler]. It never fails: a limit holds, whatever another program
// says of who set it.
func (s *Source) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"` + string(ByConfig) + `"`:
		*s = ByConfig
	case `"` + string(HandedBack) + `"`:
		*s = HandedBack
	default:
		*s = ByPerson
	}
	return nil
}

// parseKey reads a type and its key from an entry.
func parseKey(e stream.Entry) (typ, key string, ok bool) {
	typ, ok = strings.CutPrefix(e.Key, keyKeys+".")
	var v keyValue
	if !ok || e.Value == nil || json.Unmarshal(e.Value, &v) != nil {
		return "", "", false
	}
	return typ, v.Key, job.CheckKey(v.Key) == nil
}

func lastToken(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
