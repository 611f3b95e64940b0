package web

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millhand/millhand"
)

func TestRedaction(t *testing.T) {
	r := Redaction{Keys: []string{"password", "*token*", "a*b*c", "[x"}, Types: map[string][]string{"charge": {"/card/number", "/list/1"}}}
	deep := strings.Repeat(`[`, 1<<19)
	for _, c := range []struct{ typ, payload, want string }{
		{"mail", `{"Password":"s","n":1.10,"x":{"auth/token":{"a":["s"]}}}`, `{"Password":"[redacted]","n":1.10,"x":{"auth/token":"[redacted]"}}`},
		{"mail", `{"aXbYc":"s","aXbYcZ":"t","[x":"s"}`, `{"aXbYc":"[redacted]","aXbYcZ":"t","[x":"[redacted]"}`},
		{"mail", `{"pass\u0077ord":"s"}`, `{"password":"[redacted]"}`},
		{"mail", `just text`, `just text`},
		{"mail", "{\"password\":\"s\"}\n{\"a\":1}", hidden},
		{"mail", `{"password":"s"}]`, hidden},
		{"mail", `user=a&Password=s`, hidden},
		{"mail", deep + `{"password":"s"`, hidden},
		{"charge", deep, hidden},
		{"charge", `{"card":{"number":{"a":"s"},"brand":"v"},"list":[1,"s"]}`, `{"card":{"number":"[redacted]","brand":"v"},"list":[1,"[redacted]"]}`},
		{"charge", `no JSON`, hidden},
	} {
		if got := string(r.payload(User{}, millhand.Ref{Type: c.typ}, []byte(c.payload))); got != c.want {
			t.Errorf("%s %.60s: %.80s, want %.80s", c.typ, c.payload, got, c.want)
		}
	}
}

// What stands below a name that is hidden is never shown, wherever that is and whatever else is there.
func TestRedactionHides(t *testing.T) {
	r := Redaction{Keys: []string{"*secret*"}}
	name := rapid.StringMatching(`[a-z/"\\*\[é]{0,4}(secret|SeCret|other)[a-z/.]{0,3}`)
	var value *rapid.Generator[any]
	value = rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return rapid.MapOfN(name, rapid.Deferred(func() *rapid.Generator[any] { return value }), 0, 3).Draw(t, "object")
		case 1:
			return rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[any] { return value }), 0, 3).Draw(t, "array")
		}
		return "plain"
	})
	var marked func(v any, below bool) any
	marked = func(v any, below bool) any {
		switch v := v.(type) {
		case map[string]any:
			out := make(map[string]any)
			for k, one := range v {
				out[k] = marked(one, below || strings.Contains(strings.ToLower(k), "secret"))
			}
			return out
		case []any:
			out := []any{}
			for _, one := range v {
				out = append(out, marked(one, below))
			}
			return out
		}
		if below {
			return "HIDE"
		}
		return "SHOW"
	}
	rapid.Check(t, func(t *rapid.T) {
		b, err := json.Marshal(marked(value.Draw(t, "value"), false))
		if err != nil {
			t.Fatal(err)
		}
		got := string(r.payload(User{}, millhand.Ref{}, b))
		if strings.Contains(got, "HIDE") || strings.Count(got, "SHOW") != strings.Count(string(b), "SHOW") || !json.Valid([]byte(got)) {
			t.Fatalf("%s is shown as %s", b, got)
		}
	})
}
