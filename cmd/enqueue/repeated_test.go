package main

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

func TestRepeatedKey(t *testing.T) {
	t.Parallel()
	for object, want := range map[string]string{
		`{}`:                                              "",
		`{"type":"a","payload":{}}`:                       "",
		`{"type":"a","type":"b"}`:                         "type",
		`{"type":"a","Type":"b"}`:                         "Type",
		`{"type":"a","ty\u0070e":"b"}`:                    "type",
		`{"id":"type","type":"a"}`:                        "",
		`{"payload":{"a":1,"a":2}}`:                       "", // the caller's own
		`{"payload":["id","id"],"id":"x"}`:                "",
		`{"payload":"\\\",\"id","id":"x"}`:                "",
		`{"id":"x","payload":{"b":[{"id":1}]}, "id":"y"}`: "id",
	} {
		if !json.Valid([]byte(object)) {
			t.Fatalf("%s is no JSON", object)
		}
		if got, ok := repeatedKey([]byte(object)); got != want || ok != (want != "") {
			t.Errorf("repeatedKey(%s) = %q, %t, want %q", object, got, ok, want)
		}
	}
}

// What the encoder writes of a map has each key once.
func TestNoKeyIsRepeated(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.MapOf(rapid.StringMatching(`[a-z"\\{},:é]{0,6}`), rapid.String()).Draw(t, "object")
		object, err := json.Marshal(map[string]any{"a": keys, "b": keys})
		if err != nil {
			t.Fatal(err)
		}
		if key, ok := repeatedKey(object); ok {
			t.Errorf("%q is repeated in %s", key, object)
		}
		own, err := json.Marshal(keys)
		if err != nil {
			t.Fatal(err)
		}
		if key, ok := repeatedKey(own); ok {
			t.Errorf("%q is repeated in %s", key, own)
		}
	})
}
