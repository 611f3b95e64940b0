package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

var kills = flag.Int("kills", 3, "of a bulk that is resumed, and of a broker that stores batches, each at a random moment")

// tally counts the runs of each line of the bulks.
type tally struct {
	mu   sync.Mutex
	runs map[lineOf]int
}

type lineOf struct {
	Bulk string `json:"bulk"`
	Line int    `json:"line"`
}

func (c *tally) count(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	var l lineOf
	if err := json.Unmarshal(j.Args.Payload, &l); err != nil {
		return nil, millhand.Permanent(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[l]++
	return nil, nil
}

// of returns how many lines of a bulk were run, and how many of them more than once.
func (c *tally) of(bulk string) (lines, twice int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l, n := range c.runs {
		if l.Bulk != bulk {
			continue
		}
		lines++
		if n > 1 {
			twice++
		}
	}
	return lines, twice
}

// startTally runs jobs of the type count in this process. They end in silence, as nothing else would be
// forgotten as soon.
func startTally(t *testing.T, url string) *tally {
	t.Helper()
	c := &tally{runs: make(map[lineOf]int)}
	mux := millhand.NewMux()
	mux.HandleFunc("count", c.count, millhand.TypeConfig{SilentSuccess: true})
	runWorker(t, url, millhand.WorkerConfig{Mux: mux, Concurrency: 100})
	return c
}

// An enqueue that is killed and started again, again and again, while its jobs are run: each line is
// run exactly once.
func TestResumedBulkThatIsKilled(t *testing.T) {
	t.Parallel()
	const lines = 6000
	b := startBroker(t)
	c := startTally(t, b.URL)
	longest := time.Second // that a run takes
	left := *kills
	for round := 0; left > 0; round++ {
		name := fmt.Sprintf("round-%d", round)
		var text strings.Builder
		for i := range lines {
			fmt.Fprintf(&text, `{"payload":{"bulk":%q,"line":%d}}`+"\n", name, i)
		}
		file := writeFile(t, "jobs.ndjson", text.String())
		for ended := false; !ended; {
			start := time.Now()
			cmd := exec.Command(commands.enqueue, "-s", b.URL, "--quiet", "--from", file, "--resume", name, "count")
			p := launch(t, "enqueue", cmd)
			if left == 0 {
				receive(t, "end of the enqueue", p.exited)
			}
			kill := time.NewTimer(rand.N(longest))
			select {
			case <-kill.C:
				p.kill(t)
				left--
			case <-p.exited:
				ended = true
				longest = time.Since(start)
				if code := cmd.ProcessState.ExitCode(); code != 0 {
					t.Fatalf("exit code %d\n%s", code, p.log)
				}
				if total := summed(t, p.log.String()); total != lines {
					t.Errorf("%d lines in the summary, want %d: %s", total, lines, p.log)
				}
			}
			kill.Stop()
		}
		until(t, "all lines are run", func() bool { n, _ := c.of(name); return n == lines })
		if _, twice := c.of(name); twice > 0 {
			t.Errorf("%s: %d lines were run more than once", name, twice)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for l, n := range c.runs {
		if n != 1 {
			t.Errorf("%+v was run %d times", l, n)
		}
	}
}

// summed is how many lines a summary tells of.
func summed(t *testing.T, log string) int {
	t.Helper()
	var enqueued, duplicates, refused int
	for line := range strings.Lines(log) {
		if _, err := fmt.Sscanf(line, "enqueued %d, duplicates %d, refused %d in", &enqueued, &duplicates, &refused); err == nil {
			return enqueued + duplicates + refused
		}
	}
	t.Fatalf("no summary in %q", log)
	return 0
}

// A name is of one input: another one is refused, and nothing of it is enqueued.
func TestResumedBulkOfAnotherInput(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	lines := strings.Repeat("{}\n", 3000)
	file := writeFile(t, "jobs.ndjson", lines)
	if _, stderr, code := runEnqueue(t, "", "-s", b.URL, "--quiet", "--from", file, "--resume", "a", "email"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	for _, other := range []string{"{} \n" + lines[3:], lines[:len(lines)-3]} {
		if err := os.WriteFile(file, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := runEnqueue(t, "", "-s", b.URL, "--from", file, "--resume", "a", "email")
		const want = "enqueue: the first 3000 lines are not those of run a: use another name for another input"
		if code != 2 || !strings.HasPrefix(stderr, want) {
			t.Errorf("exit code %d, %s, want 2, %s", code, stderr, want)
		}
	}
	if err := os.WriteFile(file, []byte(lines+"{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := runEnqueue(t, "", "-s", b.URL, "--from", file, "--resume", "a", "email")
	if want := "enqueued 1, duplicates 3000, refused 0 in "; code != 0 || !strings.HasPrefix(stderr, want) {
		t.Errorf("with a line more: exit code %d, %s, want 0, %s", code, stderr, want)
	}
}

// A broker that is away for longer than one job would be waited for: the bulk goes on when it is back,
// and each line is stored once.
func TestBulkWaitsForItsBroker(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	in, lines := io.Pipe()
	cmd := exec.Command(commands.enqueue, "-s", b.URL, "--from", "-", "email")
	ids, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = in, out
	p := launch(t, "enqueue", cmd)
	if err := out.Close(); err != nil { // the command has it
		t.Fatal(err)
	}
	printed := bufio.NewScanner(ids)
	batch := strings.Repeat("{}\n", 1000)
	if _, err := io.WriteString(lines, batch); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if !printed.Scan() {
			t.Fatalf("the ids end early: %v", printed.Err())
		}
	}
	b.kill(t)
	if _, err := io.WriteString(lines, batch+"{}\n"); err != nil {
		t.Fatal(err)
	}
	if err := lines.Close(); err != nil {
		t.Fatal(err)
	}
	away := time.NewTimer(6 * time.Second) // one job is given up after 4 s
	defer away.Stop()
	select {
	case <-p.exited:
		t.Fatal("it has given up")
	case <-away.C:
	}
	b.start(t)
	rest := 0
	for printed.Scan() {
		rest++
	}
	receive(t, "end of the enqueue", p.exited)
	if code := cmd.ProcessState.ExitCode(); code != 0 || rest != 1001 {
		t.Errorf("exit code %d, %d ids after the outage, want 0, 1001\n%s", code, rest, p.log)
	}
	nc, err := dial(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		t.Fatal(err)
	}
	stored := 0
	for _, err := range client.Jobs(t.Context(), millhand.JobFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		stored++
	}
	if stored != 2001 {
		t.Errorf("%d jobs are stored, want 2001", stored)
	}
}
