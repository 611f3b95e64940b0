package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/clitest"
)

// scriptPatience is how long a script waits for what must come.
const scriptPatience = time.Minute

// Each script has a broker of its own in URL, at ADDRESS. DEAD_URL is one where nothing listens, and
// SITE answers the paths /ok, /busy and /bad.
func TestScript(t *testing.T) {
	clitest.Run(t, clitest.Script{
		URL: "URL",
		Setup: func(env *testscript.Env) error {
			site, err := serveSite(env)
			if err != nil {
				return err
			}
			env.Values["workers"] = make(workers)
			env.Setenv("ADDRESS", strings.TrimPrefix(env.Getenv("URL"), "nats://"))
			env.Setenv("SITE", site)
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"end": awaitJob, "ends": ends, "get": get, "job": runJob, "put": putJob, "says": says, "secured": startSecured, "signal": sendSignal, "work": startWork,
		},
	})
}

func serveSite(env *testscript.Env) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ok", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // short of it, the script's pattern does not match
		_, _ = fmt.Fprintf(w, "%s %s %s %s", r.Header.Get("Authorization"), r.Header.Get("Idempotency-Key"), r.Header.Get("Millhand-Meta-Lang"), body)
	})
	mux.HandleFunc("POST /bad", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such customer", http.StatusNotFound) })
	mux.HandleFunc("POST /busy", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "later", http.StatusServiceUnavailable) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: scriptPatience}
	go func() { _ = srv.Serve(l) }() // until Close
	env.Defer(func() { _ = srv.Close() })
	return "http://" + l.Addr().String(), nil
}

// A running worker writes its standard error to a file of the script.
type running struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
}

type workers map[string]*running

func named(ts *testscript.TestScript, name string) *running {
	all, _ := ts.Value("workers").(workers)
	r, ok := all[name]
	if !ok {
		ts.Fatalf("no worker %s was started", name)
	}
	return r
}

// work NAME ARGS... starts a worker in the background. Its log goes to NAME.log. With a
// broker of its own URL is that, and with health checks they are at WEB.
func startWork(ts *testscript.TestScript, _ bool, args []string) {
	name := args[0]
	r := &running{cmd: exec.Command("worker", args[1:]...), log: ts.MkAbs(name + ".log"), exited: make(chan struct{})}
	log, err := os.Create(r.log)
	ts.Check(err)
	r.cmd.Stderr, r.cmd.Dir = log, ts.MkAbs(".")
	for _, key := range []string{"PATH", "HOME", "TMPDIR", "GORACE", "XDG_DATA_HOME", "NATS_URL", "NATS_USER", "NATS_PASSWORD", "TOKEN"} {
		if v := ts.Getenv(key); v != "" {
			r.cmd.Env = append(r.cmd.Env, key+"="+v)
		}
	}
	ts.Check(r.cmd.Start())
	go func() {
		defer close(r.exited)
		_ = r.cmd.Wait() // ends looks at its state
		_ = log.Close()
	}()
	ts.Defer(func() {
		_ = r.cmd.Process.Kill() // it may have ended
		<-r.exited
	})
	all, _ := ts.Value("workers").(workers)
	all[name] = r
	line := await(ts, r, "worker started")
	if strings.Contains(line, `"msg"`) {
		return // a log for programs
	}
	for _, at := range []struct{ text, key, variable string }{
		{"broker started", "url=", "URL"}, {"serving health checks", "url=", "WEB"},
	} {
		if line := find(ts, r, at.text); line != "" {
			_, value, _ := strings.Cut(line, at.key)
			ts.Setenv(at.variable, strings.Fields(value)[0])
		}
	}
}

// says NAME TEXT waits for a line of the worker's log with the text.
func says(ts *testscript.TestScript, _ bool, args []string) {
	await(ts, named(ts, args[0]), args[1])
}

func await(ts *testscript.TestScript, r *running, text string) string {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(scriptPatience); time.Now().Before(end); <-tick.C {
		ended := false
		select {
		case <-r.exited:
			ended = true
		default:
		}
		if line := find(ts, r, text); line != "" {
			return line
		}
		if ended {
			break
		}
	}
	ts.Fatalf("the worker never said %q:\n%s", text, ts.ReadFile(r.log))
	return ""
}

func find(ts *testscript.TestScript, r *running, text string) string {
	for line := range strings.Lines(ts.ReadFile(r.log)) {
		if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
			return line
		}
	}
	return ""
}

// signal NAME HUP|INT|TERM signals a worker.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	sig, ok := map[string]os.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM}[args[1]]
	if !ok {
		ts.Fatalf("no signal %s", args[1])
	}
	ts.Check(named(ts, args[0]).cmd.Process.Signal(sig))
}

// ends NAME CODE waits for the end of a worker.
func ends(ts *testscript.TestScript, _ bool, args []string) {
	r := named(ts, args[0])
	timer := time.NewTimer(scriptPatience)
	defer timer.Stop()
	select {
	case <-r.exited:
	case <-timer.C:
		ts.Fatalf("the worker did not end:\n%s", ts.ReadFile(r.log))
	}
	if got := strconv.Itoa(r.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("exit code %s, want %s:\n%s", got, args[1], ts.ReadFile(r.log))
	}
}

// get URL CODE prints the body of an answer.
func get(ts *testscript.TestScript, _ bool, args []string) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, args[0], nil)
	ts.Check(err)
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
	if strconv.Itoa(resp.StatusCode) != args[1] {
		ts.Fatalf("%s: %s, want %s", args[0], resp.Status, args[1])
	}
}

// put QUEUE TYPE ID PAYLOAD [TIMEOUT] enqueues a job.
func putJob(ts *testscript.TestScript, _ bool, args []string) { put(ts, args) }

func put(ts *testscript.TestScript, args []string) (*millhand.Client, millhand.Ref) {
	c := clitest.Client(ts)
	options := []millhand.EnqueueOption{millhand.WithQueue(args[0]), millhand.WithID(args[2]), millhand.WithMeta("lang", "de")}
	if len(args) > 4 {
		timeout, err := time.ParseDuration(args[4])
		ts.Check(err)
		options = append(options, millhand.WithTimeout(timeout), millhand.WithMaxAttempts(1))
	}
	ref, err := c.Enqueue(context.Background(), millhand.Raw{Name: args[1], Payload: []byte(args[3])}, options...)
	ts.Check(err)
	return c, ref
}

// job QUEUE TYPE ID PAYLOAD enqueues a job, waits for its end and prints it.
func runJob(ts *testscript.TestScript, _ bool, args []string) {
	c, ref := put(ts, args)
	printEnd(ts, c, ref)
}

// end QUEUE TYPE ID waits for the end of a job that was put and prints it.
func awaitJob(ts *testscript.TestScript, _ bool, args []string) {
	printEnd(ts, clitest.Client(ts), millhand.Ref{Queue: args[0], Type: args[1], ID: args[2]})
}

func printEnd(ts *testscript.TestScript, c *millhand.Client, ref millhand.Ref) {
	ctx, cancel := context.WithTimeout(context.Background(), scriptPatience)
	defer cancel()
	info, err := c.Await(ctx, ref)
	if info.State == "" {
		ts.Fatalf("job %s: %v", ref.ID, err)
	}
	_, err = fmt.Fprintf(ts.Stdout(), "%s at attempt %d %s\nresult: %s\nerror: %s\n", info.State, info.Attempt, info.Reason, info.Result, info.LastError())
	ts.Check(err)
}

// secured starts the server of [clitest.Secured], and makes it the one of the script.
func startSecured(ts *testscript.TestScript, neg bool, args []string) {
	clitest.Secured(ts, neg, args)
	address := strings.TrimPrefix(ts.Getenv("SECURED_URL"), "nats://")
	ts.Setenv("SECURED_ADDRESS", address)
	ts.Setenv("URL", "nats://miller:grist@"+address) // the script's own way in
}
