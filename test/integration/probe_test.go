package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

// probeEnv makes the test binary a worker whose handlers write down when they start and
// end; it holds the [probeArgs].
const probeEnv = "MILLHAND_TEST_PROBE"

// probeArgs say what a probe works on.
type probeArgs struct {
	URL         string
	Journal     string // where its handlers write
	Types       []string
	Concurrency int
	Quotas      []millhand.Quota
	PermitTTL   time.Duration
}

// probeJob is the payload of what probes run.
type probeJob struct {
	For time.Duration `json:"for"`
}

// A journal is a file to which the handlers of many processes append: one line each for a
// start and an end, before and after everything else. The order of the lines is the order
// of what happened, whatever the clocks say.
type journal struct {
	path string
	file *os.File
}

func newJournal(t *testing.T) *journal {
	t.Helper()
	j, err := openJournal(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.file.Close() }) // nothing is written behind the test
	return j
}

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &journal{path: path, file: f}, err
}

// note appends a line in one write, which O_APPEND keeps whole.
func (j *journal) note(what string, pid int, typ, id string) {
	if _, err := fmt.Fprintf(j.file, "%s %d %s %s %d\n", what, pid, typ, id, time.Now().UnixNano()); err != nil {
		panic(err)
	}
}

// entry is a line of a journal.
type entry struct {
	what    string // start, end, cut (told to end early); killed and frozen are of a whole process
	pid     int
	typ, id string
	at      int64 // nanoseconds, by the clock of whoever wrote it
}

func (j *journal) read(t *testing.T) []entry {
	t.Helper()
	text, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	var entries []entry
	for line := range strings.Lines(string(text)) {
		var e entry
		if _, err := fmt.Sscan(line, &e.what, &e.pid, &e.typ, &e.id, &e.at); err != nil {
			t.Fatalf("journal %q: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries
}

// count returns how many lines say so of a type.
func (j *journal) count(t *testing.T, what, typ string) int {
	t.Helper()
	n := 0
	for _, e := range j.read(t) {
		if e.what == what && e.typ == typ {
			n++
		}
	}
	return n
}

// overlap replays the journal and calls seen after each line with how many handlers of a
// type ran then. One of a killed process does not. One of a frozen process does nothing, and
// is left out for good: its end it may write down when it wakes; so may one its start that was
// about to start, and it is cut at once.
func overlap(entries []entry, typ string, seen func(e entry, running int)) {
	type run struct {
		pid int
		id  string
	}
	running, frozen, cut := make(map[run]bool), make(map[int]bool), make(map[run]bool)
	for _, e := range entries {
		frozen[e.pid] = frozen[e.pid] || e.what == "frozen"
		if r := (run{e.pid, e.id}); e.what == "cut" && frozen[e.pid] {
			cut[r] = true
		}
	}
	for _, e := range entries {
		switch e.what {
		case "start":
			if e.typ == typ && !cut[run{e.pid, e.id}] {
				running[run{e.pid, e.id}] = true
			}
		case "end", "cut":
			delete(running, run{e.pid, e.id})
		case "killed", "frozen":
			for r := range running {
				if r.pid == e.pid {
					delete(running, r)
				}
			}
		}
		seen(e, len(running))
	}
}

// A probe is a worker process of this kind.
type probe struct {
	*process
	journal *journal
}

func startProbe(t *testing.T, j *journal, args probeArgs) *probe {
	t.Helper()
	p := launchProbe(t, j, args)
	p.awaitLog(t, "worker started")
	return p
}

func launchProbe(t *testing.T, j *journal, args probeArgs) *probe {
	t.Helper()
	args.Journal = j.path
	text, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{probeEnv + "=" + string(text)}
	return &probe{process: launch(t, "probe", cmd), journal: j}
}

// kill kills it and notes that none of its handlers runs any more.
func (p *probe) kill(t *testing.T) {
	t.Helper()
	p.process.kill(t)
	p.journal.note("killed", p.pid(), "-", "-")
}

// freeze stops it and notes that its handlers stand still.
func (p *probe) freeze(t *testing.T) {
	t.Helper()
	p.process.freeze(t)
	until(t, "the probe stands still", func() bool { return stopped(p.pid()) })
	p.journal.note("frozen", p.pid(), "-", "-")
}

// stopped reports whether all threads of a process were stopped by a signal.
func stopped(pid int) bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, task := range tasks {
		stat, err := os.ReadFile(task)
		if err != nil {
			continue // that thread has ended
		}
		_, state, _ := strings.Cut(string(stat), ") ")
		if !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// serveProbe is the probe's process.
func serveProbe(text string) {
	var args probeArgs
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		panic(err)
	}
	if err := runProbe(args); err != nil && !errors.Is(err, millhand.ErrDrainTimeout) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runProbe(args probeArgs) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	j, err := openJournal(args.Journal)
	if err != nil {
		return err
	}
	nc, err := dial(args.URL, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return err
	}
	defer nc.Close()
	mux := millhand.NewMux()
	for _, typ := range args.Types {
		mux.HandleFunc(typ, func(ctx context.Context, job *millhand.Job[millhand.Raw]) ([]byte, error) {
			return nil, j.run(ctx, job)
		})
	}
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{
		Config: millhand.Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))},
		Mux:    mux, Concurrency: args.Concurrency, Quotas: args.Quotas, PermitTTL: args.PermitTTL,
		AckWait: 5 * time.Second, DrainTimeout: 2 * time.Second,
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// run is the probe's handler.
func (j *journal) run(ctx context.Context, job *millhand.Job[millhand.Raw]) error {
	j.note("start", os.Getpid(), job.Type, job.ID)
	defer func() {
		what := "end"
		if ctx.Err() != nil {
			what = "cut"
		}
		j.note(what, os.Getpid(), job.Type, job.ID)
	}()
	var p probeJob
	if err := json.Unmarshal(job.Args.Payload, &p); err != nil {
		return err
	}
	timer := time.NewTimer(p.For)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
