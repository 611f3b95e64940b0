package job

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"testing"
	"unicode/utf8"
)

// The vectors are those of docs/wire.md and a few more. They were made by an implementation in
// another language.
func TestUniqueID(t *testing.T) {
	file, err := os.ReadFile("testdata/unique.json")
	if err != nil {
		t.Fatal(err)
	}
	wire, err := os.ReadFile("../../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Type       string
		Payload    string
		PayloadHex string `json:"payload_hex"` // of one that is no text
		Form       string
		Canonical  string
		ID         string
	}
	if err := json.Unmarshal(file, &vectors); err != nil || len(vectors) < 16 {
		t.Fatalf("%d vectors: %v", len(vectors), err)
	}
	for _, v := range vectors {
		payload := []byte(v.Payload)
		if v.PayloadHex != "" {
			if payload, err = hex.DecodeString(v.PayloadHex); err != nil {
				t.Fatal(err)
			}
		}
		form := "raw"
		text, ok := canonical(payload)
		if ok {
			form = "json"
			if string(text) != v.Canonical {
				t.Errorf("%.60q of type %s: canonical %.60q, want %.60q", payload, v.Type, text, v.Canonical)
			}
		}
		if id := UniqueID(v.Type, payload); form != v.Form || id != v.ID {
			t.Errorf("%.60q of type %s: %s %s, want %s %s", payload, v.Type, form, id, v.Form, v.ID)
		}
		if err := CheckID(v.ID); err != nil {
			t.Error(err)
		}
		if !bytes.Contains(wire, []byte(v.ID)) {
			t.Errorf("docs/wire.md has no %s", v.ID)
		}
	}
}

// What two texts of JSON have in common is their value, as encoding/json reads it, and nothing else.
func TestCanonicalIsOneTextPerValue(t *testing.T) {
	same := [][]string{
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, " {\t\"a\"\r\n: 1 , \"b\":2}", `{"\u0061":1,"b":2}`},
		{`"é"`, `"\u00e9"`, `"\u00E9"`},
		{`"/"`, `"\/"`},
		{`"\n"`, `"\u000a"`, `"\u000A"`},
		{`"😀"`, `"\ud83d\ude00"`},
		{"\"\ufffd\"", `"\ufffd"`},
		{`"\\ud800"`},
		{`"\u0000"`},
		{`[]`, `[ ]`},
		{`{}`, `{ }`},
		{`null`},
		{`true`},
		{`"null"`},
		{`1`},
		{`1.0`},
		{`10e-1`},
		{`"1"`},
		{`-0`},
		{`0`},
		{`[1,2]`},
		{`[12]`},
		{`[[1],2]`},
		{`[[1,2]]`},
	}
	of := make(map[string]int)
	for i, texts := range same {
		for _, text := range texts {
			c, ok := canonical([]byte(text))
			if !ok {
				t.Errorf("%s is no JSON", text)
			}
			if j, seen := of[string(c)]; seen && j != i {
				t.Errorf("%s and %s are both %s", text, same[j][0], c)
			}
			of[string(c)] = i
		}
	}
	if len(of) != len(same) {
		t.Errorf("%d canonical texts of %d values", len(of), len(same))
	}
}

func TestCanonicalRefusesWhatReadersDisagreeAbout(t *testing.T) {
	for _, text := range []string{
		`{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `[{"x":{"a":[],"a":[]}}]`, // a member twice
		`"\ud800"`, `"\udc00"`, `"\ud800\ud800"`, `"\ud800x"`, `"\ud83d\n"`, `{"\uDC00":1}`, // half a pair
		"\"\xff\"", ``, ` `, `{} {}`, `[1,]`, `01`, `NaN`, `'a'`, "\"\n\"", "\ufeff{}", // no JSON
	} {
		if c, ok := canonical([]byte(text)); ok {
			t.Errorf("%q is taken for JSON: %s", text, c)
		}
	}
}

// A canonical text is its own canonical text, and means what it was made of.
func FuzzCanonical(f *testing.F) {
	for _, text := range []string{
		`{"a":1}`, `[1, 2.0e+1, "x\u0000\ud83d\ude00"]`, `"\ud800"`, `{"a":{},"a":[]}`, `{"\u0061":1,"a":2}`,
		"\"\ufffd\\ufffd\"", `"\\ud800"`, `{"b":[{"z":null,"y":true}],"":{}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, ok := canonical(text)
		if !ok {
			return
		}
		if again, ok := canonical(c); !ok || !bytes.Equal(c, again) {
			t.Fatalf("%q -> %q -> %q %v", text, c, again, ok)
		}
		if bytes.ContainsAny(c, "\n\t\r") || !utf8.Valid(c) {
			t.Fatalf("%q -> %q", text, c)
		}
		if was, is := meaning(t, text), meaning(t, c); !reflect.DeepEqual(was, is) {
			t.Fatalf("%q means %v, %q means %v", text, was, c, is)
		}
	})
}

// meaning is what encoding/json makes of a text.
func meaning(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("%q goes on: %v", text, err)
	}
	return v
}

func BenchmarkUniqueID(b *testing.B) {
	payload := []byte(`{"to":"a@example.com","subject":"Your order","items":[{"sku":"a-1","count":2},{"sku":"b-7","count":1}],"total":129.5}`)
	b.ReportAllocs()
	for b.Loop() {
		UniqueID("email", payload)
	}
}
