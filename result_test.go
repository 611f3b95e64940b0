package millhand_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// What a handler returned comes back as it was: text is told from JSON that is a string, and
// what JSON cannot hold is not lost. It also survives that what is known of the job is kept as
// JSON.
func TestResultComesBack(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		mux.HandleFunc("echo", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) { return j.Args.Payload, nil })
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		deep := strings.Repeat("[", 600) + strings.Repeat("]", 600)
		for _, tt := range []struct{ returned, result, output string }{
			{"hello", `"hello"`, "hello"},
			{`"hello"`, `"hello"`, `"hello"`},
			{"", "", ""},
			{" ", `" "`, " "},
			{"null", "null", "null"},
			{`{"a": [1, 2]}`, `{"a":[1,2]}`, `{"a":[1,2]}`},
			{"1 2", `"1 2"`, "1 2"},
			{"a\nb", `"a\nb"`, "a\nb"},
			{"\xff\x00", "", "\xff\x00"},
			{deep, `"` + deep + `"`, deep},
		} {
			ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "echo", Payload: []byte(tt.returned)})
			if err != nil {
				t.Fatal(err)
			}
			info, err := c.Await(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			if string(info.Result) != tt.result || string(info.Output()) != tt.output {
				t.Errorf("%.20q came back as %.20s, output %.20q", tt.returned, info.Result, info.Output())
			}
			b, err := json.Marshal(info)
			if err != nil {
				t.Fatal(err)
			}
			var again millhand.Info
			if err := json.Unmarshal(b, &again); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(info, again); diff != "" {
				t.Errorf("through JSON (-before +after):\n%s", diff)
			}
		}
	})
}

// A pointer to raw bytes is raw bytes, too.
func TestPointerToRaw(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		mux.HandleFunc("echo", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) { return j.Args.Payload, nil })
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), &millhand.Raw{Name: "echo", Payload: []byte("as it is")})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := c.Await(t.Context(), ref); err != nil || string(info.Output()) != "as it is" {
			t.Errorf("the handler was given %q, %v", info.Output(), err)
		}
	})
}

// All that describes jobs and workers has names in JSON that are those of the docs.
func TestNamesInJSON(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		millhand.Ref{}, millhand.Info{Failures: []millhand.Failure{{}}}, millhand.Event{},
		millhand.WorkerInfo{Running: []millhand.RunningJob{{}}}, millhand.WorkerEvent{},
		millhand.QuotaUsage{Workers: []millhand.QuotaShare{{}}}, millhand.Health{Refused: &millhand.RefusedEnds{}, Tree: millhand.TreeNode{}},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var names map[string]any
		if err := json.Unmarshal(b, &names); err != nil {
			t.Fatal(err)
		}
		var check func(string, any)
		check = func(at string, v any) {
			switch v := v.(type) {
			case []any:
				for _, e := range v {
					check(at, e)
				}
			case map[string]any:
				for name, e := range v {
					if name != strings.ToLower(name) {
						t.Errorf("%T: %s.%s in %s", v, at, name, b)
					}
					check(at+"."+name, e)
				}
			}
		}
		check("", names)
	}
}
