package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"enqueue": main}) }

// Each script has a broker of its own in NATS_URL. DEAD_URL is one where nothing listens,
// SILENT_URL one that accepts connections and says nothing.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			b, err := broker.Start(broker.Config{Store: filepath.Join(env.WorkDir, ".store"), Port: -1})
			if err != nil {
				return err
			}
			env.Defer(b.Shutdown)
			silent, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = silent.Close() }) // nothing was ever accepted
			dead, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Setenv("NATS_URL", b.ClientURL())
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each run of the race detector ends with a second of sleep
			env.Setenv("LONG", strings.Repeat("x", 64))
			env.Setenv("SILENT_URL", "nats://"+silent.Addr().String())
			env.Setenv("DEAD_URL", "nats://"+dead.Addr().String())
			return dead.Close()
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":    exits,
			"fill":     fill,
			"job":      printJob,
			"jsonkeys": jsonKeys,
			"quota":    setQuota,
			"secured":  startSecured,
			"work":     work,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// exits CODE [within DURATION] PROGRAM ARGS... runs a program that ends with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	within := time.Minute
	if args[0] == "within" {
		within, err = time.ParseDuration(args[1])
		ts.Check(err)
		args = args[2:]
	}
	start := time.Now()
	err = ts.Exec(args[0], args[1:]...)
	took := time.Since(start)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != code {
		ts.Fatalf("exit code %d, want %d", got, code)
	}
	if took > within {
		ts.Fatalf("took %v, want at most %v", took, within)
	}
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

// secured starts a server that lets in only user miller with password grist, and sets
// SECURED_URL.
func startSecured(ts *testscript.TestScript, _ bool, _ []string) {
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: ts.MkAbs(".secured"),
		Username: "miller", Password: "grist",
	})
	ts.Check(err)
	srv.Start()
	ts.Defer(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(30 * time.Second) {
		ts.Fatalf("server not ready")
	}
	ts.Setenv("SECURED_URL", srv.ClientURL())
}

// quota TYPE N sets the quota of a type.
func setQuota(ts *testscript.TestScript, _ bool, args []string) {
	limit, err := strconv.Atoi(args[1])
	ts.Check(err)
	nc, err := nats.Connect(ts.Getenv("NATS_URL"))
	ts.Check(err)
	defer nc.Close()
	client, err := millhand.NewClient(nc, millhand.Config{})
	ts.Check(err)
	ts.Check(client.SetQuota(context.Background(), millhand.Quota{Type: args[0], Limit: limit}))
}

// work QUEUE... starts a worker of types to wait for, until the end of the script.
func work(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect(ts.Getenv("NATS_URL"), millhand.ConnectOptions(slog.New(slog.DiscardHandler))...)
	ts.Check(err)
	var queues []millhand.Queue
	for _, q := range args {
		queues = append(queues, millhand.Queue{Name: q})
	}
	mux := millhand.NewMux()
	mux.HandleFunc("echo", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		return j.Args.Payload, nil
	})
	mux.HandleFunc("silent", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
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
	log := new(bytes.Buffer)
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{
		Config: millhand.Config{Logger: slog.New(slog.NewTextHandler(log, nil))},
		Mux:    mux, Queues: queues, DrainTimeout: -1,
	})
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { err = w.Run(ctx) })
	ts.Defer(func() {
		cancel()
		wg.Wait()
		nc.Close()
		if err != nil && !errors.Is(err, millhand.ErrDrainTimeout) {
			ts.Logf("worker: %v\n%s", err, log)
		}
	})
}
