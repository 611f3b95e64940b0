package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/clitest"
	"github.com/millhand/millhand/internal/natstest"
)

func TestMain(m *testing.M) {
	testscript.Main(natstest.Waiting{M: m}, map[string]func(){"millhand": checkedMain})
}

// Each script has a broker of its own in NATS_URL. DEAD_URL is one where nothing listens.
func TestScript(t *testing.T) {
	schema, err := filepath.Abs(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	met := filepath.Join(t.TempDir(), "met")
	if !strings.Contains(flag.Lookup("test.run").Value.String(), "/") { // all scripts run
		t.Cleanup(func() { checkMet(t, met) })
	}
	clitest.Run(t, clitest.Script{
		URL: "NATS_URL",
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "Europe/Amsterdam")
			env.Setenv(schemaVar, schema)
			env.Setenv(metVar, met)
			env.Values[stopsKey{}] = make(map[string]func())
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"advised": advised, "enqueue": enqueueJobs, "jsonkeys": jsonKeys, "nothingof": nothingOf, "present": present, "purge": purge, "putcron": putCron, "repeated": repeated, "requests": requests, "until": until, "work": work, "workflows": workflows, "halt": halt,
		},
	})
}

// enqueue QUEUE/TYPE/ID [in DURATION | traced by TRACEPARENT] enqueues a job, whose payload says which it is.
func enqueueJobs(ts *testscript.TestScript, _ bool, args []string) {
	client := clitest.Client(ts)
	parts := strings.Split(args[0], "/")
	opts := []millhand.EnqueueOption{millhand.WithQueue(parts[0]), millhand.WithID(parts[2]), millhand.WithMeta("customer", "42")}
	switch {
	case len(args) > 1 && args[1] == "traced":
		opts = append(opts, millhand.WithTrace(map[string]string{"traceparent": args[3]}))
	case len(args) > 1:
		d, err := time.ParseDuration(args[2])
		ts.Check(err)
		opts = append(opts, millhand.WithDelay(d))
	}
	_, err := client.Enqueue(context.Background(), millhand.Raw{Name: parts[1], Payload: fmt.Appendf(nil, `{"id":%q}`, parts[2])}, opts...)
	ts.Check(err)
}

// A limit that the package refuses is refused where it is read.
func TestLimitsAreThoseOfThePackage(t *testing.T) {
	for text, want := range map[string]millhand.Quota{
		"1000000": {Limit: millhand.MaxLimit}, "1/100ms": {Limit: 1, Per: millhand.MinPeriod}, "1/24h": {Limit: 1, Per: millhand.MaxPeriod},
	} {
		if limit, per, err := cli.ParseLimit(text); limit != want.Limit || per != want.Per || err != nil {
			t.Errorf("ParseLimit(%s) = %d, %v, %v, want %+v", text, limit, per, err, want)
		}
	}
	for _, text := range []string{"1000001", "1/99ms", "1/24h1s"} {
		if limit, per, err := cli.ParseLimit(text); err == nil {
			t.Errorf("ParseLimit(%s) = %d, %v, want an error", text, limit, per)
		}
	}
}

// advised N REF runs the Nth command that why advises about a job.
func advised(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("millhand", "why", args[1], "-o", "json"))
	var a struct{ Advice []struct{ Command string } }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &a))
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	if n >= len(a.Advice) {
		ts.Fatalf("there are %d pieces of advice", len(a.Advice))
	}
	command := strings.Fields(a.Advice[n].Command)
	ts.Check(ts.Exec(command[0], command[1:]...))
}

// putcron NAME SCHEDULE ZONE QUEUE/TYPE puts an entry.
func putCron(ts *testscript.TestScript, _ bool, args []string) {
	queue, typ, _ := strings.Cut(args[3], "/")
	ts.Check(clitest.Client(ts).PutCron(context.Background(), millhand.Cron{
		Name: args[0], Schedule: args[1], Zone: args[2], Args: millhand.Raw{Name: typ, Payload: []byte("{}")},
		Options: []millhand.EnqueueOption{millhand.WithQueue(queue)},
	}))
}

// present NAME FIELDS writes the presence of a worker that is not there, with more fields of JSON.
func present(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect(ts.Getenv("NATS_URL"))
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	kv, err := js.KeyValue(context.Background(), "millhand-registry")
	ts.Check(err)
	_, err = kv.PutString(context.Background(), "node."+args[0], fmt.Sprintf(`{"name":%q,"host":"host-9","state":"working","by_type":{},%s}`, args[0], args[1]))
	ts.Check(err)
}

// purge STREAM removes all its messages.
func purge(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect(ts.Getenv("NATS_URL"))
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	s, err := js.Stream(context.Background(), args[0])
	ts.Check(err)
	ts.Check(s.Purge(context.Background()))
}

// nothingof WORD wants no stream, and no message or key that is there, to be called like this.
func nothingOf(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect(ts.Getenv("NATS_URL"))
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	for info := range js.ListStreams(context.Background()).Info() {
		s, err := js.Stream(context.Background(), info.Config.Name)
		ts.Check(err)
		all, err := s.Info(context.Background(), jetstream.WithSubjectFilter(">"))
		ts.Check(err)
		for subject := range all.State.Subjects {
			m, err := s.GetLastMsgForSubject(context.Background(), subject)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue // it has expired meanwhile
			}
			ts.Check(err)
			removed := m.Header.Get("KV-Operation") != "" || m.Header.Get("Nats-Marker-Reason") != ""
			if strings.Contains(info.Config.Name+subject, args[0]) && !removed {
				ts.Fatalf("%s has %s", info.Config.Name, subject)
			}
		}
	}
}

// jsonkeys PATH KEY... wants the object at a path of the last standard output, such as . or
// .workers.0, to have these keys. It may have more: fields are added, and none is removed.
func jsonKeys(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for step := range strings.FieldsFuncSeq(args[0], func(r rune) bool { return r == '.' }) {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			i, err := strconv.Atoi(step)
			ts.Check(err)
			if i >= len(at) {
				ts.Fatalf("%s has %d entries", args[0], len(at))
			}
			v = at[i]
		}
	}
	object, ok := v.(map[string]any)
	for _, want := range args[1:] {
		if _, has := object[want]; !ok || !has {
			ts.Fatalf("keys at %s: %q, want %q, too", args[0], slices.Sorted(maps.Keys(object)), want)
		}
	}
}

// until PATTERN PROGRAM ARGS... runs a program again and again until its output matches.
func until(ts *testscript.TestScript, _ bool, args []string) {
	pattern := args[0]
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && strings.Contains(ts.ReadFile("stdout"), pattern) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %q in time", pattern)
		}
	}
}

// stopsKey is under which an environment has what stops its workers, by their names.
type stopsKey struct{}

// stop NAME stops a worker.
func halt(ts *testscript.TestScript, _ bool, args []string) {
	stops, _ := ts.Value(stopsKey{}).(map[string]func())
	stops[args[0]]()
}

// together is a job of which two run in one call.
type together struct{}

func (together) Type() string { return "together" }

// work NAME QUEUE... starts a worker with a name, until it is stopped or the script ends.
func work(ts *testscript.TestScript, _ bool, args []string) {
	mux := millhand.NewMux()
	mux.HandleFunc("echo", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) { return j.Args.Payload, nil })
	mux.HandleFunc("doomed", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New("no such customer\x1b[2J"))
	})
	mux.HandleFunc("failing", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.RetryAfter(time.Hour, errors.New("connection refused"))
	})
	mux.HandleFunc("hanging", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		j.Progress(2, 10, "pages")
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	millhand.HandleBatch(mux, millhand.BatchConfig[together]{Size: 2, Wait: 3 * time.Second}, func(ctx context.Context, _ *millhand.JobBatch[together]) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	stops, _ := ts.Value(stopsKey{}).(map[string]func())
	stops[args[0]] = clitest.Work(ts, millhand.WorkerConfig{
		Mux: mux, Name: args[0], Queues: clitest.QueuesOf(args[1:]), Concurrency: 4,
		AckWait: 6 * time.Second, // between two looks verify waits for two thirds of it
	})
}
