// Package integration runs the two commands as processes of their own, on brokers that
// are processes of their own, and kills, freezes and restarts them.
package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// patience is how long the tests wait for what must come. It is no part of any claim.
const patience = time.Minute

// commands are the paths of the built binaries.
var commands struct{ worker, enqueue, millhand string }

func TestMain(m *testing.M) {
	if args, ok := os.LookupEnv(brokerEnv); ok {
		serveBroker(args)
		return
	}
	if args, ok := os.LookupEnv(probeEnv); ok {
		serveProbe(args)
		return
	}
	if args, ok := os.LookupEnv(memberEnv); ok {
		serveMember(args)
		return
	}
	if args, ok := os.LookupEnv(growerEnv); ok {
		serveGrower(args)
		return
	}
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped by -short")
		return
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "millhand-integration-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is temporary anyway
	commands.worker, commands.enqueue, commands.millhand = filepath.Join(dir, "worker"), filepath.Join(dir, "enqueue"), filepath.Join(dir, "millhand")
	args := []string{"build", "-o", dir}
	if natstest.UnderRace() {
		args = append(args, "-race")
	}
	build := exec.CommandContext(context.Background(), "go", append(args, "../../cmd/worker", "../../cmd/enqueue", "../../cmd/millhand")...)
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %v\n%s", build.Args, err, out))
	}
	return natstest.Waiting{M: m}.Run()
}

// environment is what the commands see: nothing of whoever runs the tests.
func environment(t *testing.T) []string {
	t.Helper()
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + os.TempDir(),
		"GORACE=atexit_sleep_ms=0", // else the race detector ends each process with a second of sleep
	}
}

// startWorker starts a worker on a broker and returns when it pulls jobs.
func startWorker(t *testing.T, url string, args ...string) *process {
	t.Helper()
	w := launchWorker(t, append([]string{"-s", url}, args...)...)
	w.awaitLog(t, "worker started")
	return w
}

// launchWorker starts a worker and returns at once.
func launchWorker(t *testing.T, args ...string) *process {
	t.Helper()
	return launch(t, "worker", exec.Command(commands.worker, append([]string{"--http", ""}, args...)...))
}

// enqueue runs the command and returns the jobs that it enqueued.
func enqueue(t *testing.T, url string, args ...string) []millhand.Ref {
	t.Helper()
	return enqueueFrom(t, url, "", args...)
}

// enqueueFrom is enqueue with a standard input.
func enqueueFrom(t *testing.T, url, stdin string, args ...string) []millhand.Ref {
	t.Helper()
	out, stderr, code := runEnqueue(t, stdin, append([]string{"-s", url, "-o", "json"}, args...)...)
	if code != 0 {
		t.Fatalf("enqueue %q: exit code %d\n%s", args, code, stderr)
	}
	var refs []millhand.Ref
	for line := range strings.Lines(out) {
		var r millhand.Ref
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("enqueue %q printed %q: %v", args, line, err)
		}
		refs = append(refs, r)
	}
	return refs
}

func runEnqueue(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runCommand(t, commands.enqueue, stdin, args...)
}

// runCommand runs one of the commands to its end.
func runCommand(t *testing.T, path, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = environment(t)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		return out.String(), errs.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &errs)
	}
	return out.String(), errs.String(), 0
}

// until asks again and again whether something has come about, for the things that tell
// nobody.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// receive is a receive that ends the test if nothing comes.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("%s: not within %v", what, patience)
		panic("unreachable")
	}
}

// writeFile writes a file of the test's own directory and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
