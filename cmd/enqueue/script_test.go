package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/clitest"
	"github.com/millhand/millhand/internal/natstest"
)

func TestMain(m *testing.M) {
	testscript.Main(natstest.Waiting{M: m}, map[string]func(){"enqueue": main})
}

// Each script has a broker of its own in NATS_URL. DEAD_URL is one where nothing listens,
// SILENT_URL one that accepts connections and says nothing.
func TestScript(t *testing.T) {
	clitest.Run(t, clitest.Script{
		URL: "NATS_URL",
		Setup: func(env *testscript.Env) error {
			silent, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = silent.Close() }) // nothing was ever accepted
			env.Setenv("LONG", strings.Repeat("x", 64))
			env.Setenv("SILENT_URL", "nats://"+silent.Addr().String())
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fill": fill, "job": printJob, "jsonkeys": jsonKeys, "quota": setQuota, "work": work,
		},
	})
}

// fill FILE N makes a file of N bytes: one JSON string.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), slices.Concat([]byte{'"'}, bytes.Repeat([]byte{'x'}, n-2), []byte{'"'}), 0o600))
}

// job SUBJECT prints the headers and the payload of the newest message on the subject of
// a queue's stream, which it waits for.
func printJob(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect(ts.Getenv("NATS_URL"))
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tokens := strings.Split(args[0], ".")
	stream := tokens[0] + "-queue-" + tokens[1]
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	m, err := lastMsg(ctx, js, stream, args[0])
	for errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		<-tick.C
		m, err = lastMsg(ctx, js, stream, args[0])
	}
	ts.Check(err)
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(m.Header)) {
		fmt.Fprintf(&text, "%s: %s\n", key, m.Header.Get(key))
	}
	fmt.Fprintf(&text, "\n%s\n", m.Data)
	_, err = ts.Stdout().Write([]byte(text.String()))
	ts.Check(err)
}

func lastMsg(ctx context.Context, js jetstream.JetStream, stream, subject string) (*jetstream.RawStreamMsg, error) {
	st, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return st.GetLastMsgForSubject(ctx, subject)
}

// jsonkeys KEY... wants each line of the last standard output to be an object with
// exactly these keys.
func jsonKeys(ts *testscript.TestScript, _ bool, args []string) {
	slices.Sort(args)
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		var object map[string]any
		ts.Check(json.Unmarshal([]byte(line), &object))
		if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, args) {
			ts.Fatalf("keys %q of %s, want %q", got, line, args)
		}
	}
}

// quota TYPE N sets the quota of a type.
func setQuota(ts *testscript.TestScript, _ bool, args []string) {
	limit, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(clitest.Client(ts).SetQuota(context.Background(), millhand.Quota{Type: args[0], Limit: limit}))
}

// steps reports progress until somebody has seen that it is complete.
func steps(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for done := range int64(50) {
		j.Progress(done+1, 50, "steps\x1b[2J")
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
	return []byte("walked"), nil
}

// work QUEUE... starts a worker of types to wait for, until the end of the script.
func work(ts *testscript.TestScript, _ bool, args []string) {
	mux := millhand.NewMux()
	mux.HandleFunc("echo", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		return j.Args.Payload, nil
	})
	mux.HandleFunc("silent", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
	mux.HandleFunc("unrecorded", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil }, millhand.TypeConfig{SilentSuccess: true})
	mux.HandleFunc("steps", steps)
	mux.HandleFunc("meta", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		return json.Marshal(j.Meta)
	})
	mux.HandleFunc("bytes", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return []byte{0xff, 0xfe}, nil
	})
	mux.HandleFunc("flaky", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		if j.Attempt < 3 {
			return nil, millhand.RetryAfter(10*time.Millisecond, errors.New("not yet"))
		}
		return fmt.Appendf(nil, "attempt %d of %d", j.Attempt, j.MaxAttempts), nil
	})
	mux.HandleFunc("doomed", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New("no such customer"))
	})
	mux.HandleFunc("stuck", func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	clitest.Work(ts, millhand.WorkerConfig{Mux: mux, Queues: clitest.QueuesOf(args)})
}
