package millhand_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

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
		millhand.Ref{},
		millhand.Info{Failures: []millhand.Failure{{}}},
		millhand.Event{},
		millhand.WorkerInfo{Running: []millhand.RunningJob{{}}},
		millhand.WorkerEvent{},
		millhand.QuotaUsage{Workers: []millhand.QuotaShare{{}}},
		millhand.Health{Refused: &millhand.RefusedEnds{}, Tree: millhand.TreeNode{}},
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

// A success without a record is told from a job that never was.
func TestAwaitOfASilentSuccess(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil }, millhand.TypeConfig{SilentSuccess: true})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), email{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await(t.Context(), ref); !errors.Is(err, millhand.ErrNoRecord) || !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("Await: %v, want ErrNoRecord, which is an ErrNotFound", err)
		}
		if _, err := c.Get(t.Context(), ref); !errors.Is(err, millhand.ErrNoRecord) {
			t.Errorf("Get: %v, want ErrNoRecord", err)
		}
		never := millhand.Ref{Type: "email", ID: "never"}
		if _, err := c.Await(t.Context(), never); !errors.Is(err, millhand.ErrNotFound) || errors.Is(err, millhand.ErrNoRecord) {
			t.Errorf("Await of a job that never was: %v, want ErrNotFound alone", err)
		}
	})
}

// Who says that a job will be awaited learns of its end even then.
func TestAwaitedSilentSuccess(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil }, millhand.TypeConfig{SilentSuccess: true})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), email{}, millhand.WithAwait())
		if err != nil {
			t.Fatal(err)
		}
		if info, err := c.Await(t.Context(), ref); err != nil || info.State != millhand.Succeeded {
			t.Errorf("Await: %v, %v", info.State, err)
		}
		if _, err := millhand.Call[any](t.Context(), c, email{}); err != nil {
			t.Errorf("Call: %v", err)
		}
	})
}

// Poll never waits, and says of each state of a job what Await would say.
func TestPoll(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		ctx, c := t.Context(), client(t, s.Connect(t))
		enqueue := func(id, how string) millhand.Ref {
			t.Helper()
			ref, err := c.Enqueue(ctx, email{To: how}, millhand.WithID(id))
			if err != nil {
				t.Fatal(err)
			}
			return ref
		}
		good, bad, waits := enqueue("good", "good"), enqueue("bad", "bad"), enqueue("waits", "waits")
		asked := time.Now()
		if result, done, err := millhand.Poll[string](ctx, c, good); result != "" || done || err != nil {
			t.Errorf("before the start: %q, %v, %v", result, done, err)
		}
		if waited := time.Since(asked); waited > 10*time.Millisecond {
			t.Errorf("Poll took %v", waited)
		}
		mux, finish := millhand.NewMux(), make(chan struct{})
		defer close(finish)
		millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[email]) (string, error) {
			switch j.Args.To {
			case "bad":
				return "", millhand.Permanent(errors.New("no such customer"))
			case "waits":
				<-finish
			}
			return "sent", nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux})
		time.Sleep(time.Second)
		for range 2 {
			if result, done, err := millhand.Poll[string](ctx, c, good); result != "sent" || !done || err != nil {
				t.Errorf("succeeded: %q, %v, %v", result, done, err)
			}
		}
		if result, done, err := millhand.Poll[string](ctx, c, bad); result != "" || !done || !errors.Is(err, millhand.ErrFailed) {
			t.Errorf("dead: %q, %v, %v", result, done, err)
		}
		if result, done, err := millhand.Poll[string](ctx, c, waits); result != "" || done || err != nil {
			t.Errorf("running: %q, %v, %v", result, done, err)
		}
		if _, done, err := millhand.Poll[int](ctx, c, good); !done || err == nil {
			t.Errorf("of another type: %v, %v", done, err)
		}
		if _, done, err := millhand.Poll[string](ctx, c, millhand.Ref{Type: "email", ID: "never"}); done || !errors.Is(err, millhand.ErrNotFound) {
			t.Errorf("never: %v, %v", done, err)
		}
		if _, _, err := millhand.Poll[string](ctx, c, millhand.Ref{Type: "no.type"}); !errors.Is(err, millhand.ErrInvalid) {
			t.Errorf("no job at all: %v", err)
		}
	})
}

// Whoever asks to be refused at a quota that there is not is told so, once for each type and
// until it has one; the job is enqueued.
func TestRejectAtQuotaWithoutOne(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var text bytes.Buffer
		c, err := millhand.NewClient(s.Connect(t), millhand.Config{Logger: slog.New(slog.NewTextHandler(&text, nil))})
		if err != nil {
			t.Fatal(err)
		}
		quota := func(limit int) {
			t.Helper()
			if err := c.SetQuota(t.Context(), millhand.Quota{Type: "email", Limit: limit}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // what the client has read of it is old
		}
		enqueue := func(warnings int, want error) {
			t.Helper()
			if _, err := c.Enqueue(t.Context(), email{}, millhand.WithRejectAtQuota()); !errors.Is(err, want) {
				t.Fatalf("Enqueue: %v, want %v", err, want)
			}
			if got := strings.Count(text.String(), "level=WARN"); got != warnings || strings.Count(text.String(), "type=email") != warnings {
				t.Errorf("%d warnings, want %d:\n%s", got, warnings, text.String())
			}
		}
		enqueue(1, nil)
		enqueue(1, nil)
		quota(1)
		enqueue(1, millhand.ErrQuotaReached)
		quota(0)
		enqueue(2, nil)
	})
}
