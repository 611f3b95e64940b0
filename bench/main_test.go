package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"testing"
)

// The test binary plays the roles, as the built one does.
func TestMain(m *testing.M) {
	if _, ok := os.LookupEnv(roleEnv); ok {
		main()
		return
	}
	// Else the race detector ends each process with a second of sleep.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// With few jobs nothing is measured, but every job is still counted.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	args := []string{"-run", "enqueue,drain,counted,paced", "-n", "500", "-rounds", "1", "-json"}
	if err := run(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	measured := 0
	for _, l := range r.Lines {
		if len(l.Of) == r.Rounds {
			measured++
		}
	}
	if len(r.Lines) < 7 || measured < len(r.Lines) {
		t.Errorf("%d of %d lines have %d values:\n%s", measured, len(r.Lines), r.Rounds, &out)
	}
}

func TestServe(t *testing.T) {
	ctx, ended := context.WithCancel(t.Context())
	m := methods{
		"double": method(func(n int) (int, error) { return 2 * n, nil }),
		"fail":   method(func(string) (any, error) { return nil, errPayload }),
		"wait":   func(json.RawMessage) (any, error) { <-ctx.Done(); return "ended", nil },
	}
	var out bytes.Buffer
	in := bytes.NewBufferString(`{"Method":"double","Args":21}{"Method":"fail","Args":""}{"Method":"none"}{"Method":"wait"}`)
	if err := serve(ended, m, in, &out); err != nil {
		t.Fatal(err)
	}
	want := []answer{{Result: json.RawMessage("42")}, {Error: errPayload.Error()}, {Error: "no such method"}, {Result: json.RawMessage(`"ended"`)}}
	dec := json.NewDecoder(&out)
	for i, w := range want {
		var got answer
		if err := dec.Decode(&got); err != nil || string(got.Result) != string(w.Result) && w.Result != nil || got.Error != w.Error {
			t.Errorf("answer %d = %s %q, %v, want %s %q", i, got.Result, got.Error, err, w.Result, w.Error)
		}
	}
}
