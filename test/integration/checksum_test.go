package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

// Hundreds of real files become jobs of a command that prints their SHA-256, on two
// workers of which one is killed in the middle and started again.
func TestChecksums(t *testing.T) {
	t.Parallel()
	const jobs, concurrency = 400, 16
	files := goFiles(t, jobs)
	var lines strings.Builder
	for _, f := range files {
		payload, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "{\"payload\":%s}\n", payload)
	}
	trail := filepath.Join(t.TempDir(), "trail")
	// A JSON string without escapes is also a word in quotes, to xargs.
	script := writeFile(t, "script", "echo $MILLHAND_ID >>"+trail+"\nxargs sha256sum\n")
	// A worker runs waves of jobs, and has none in hand for a moment after each: the one that is killed has some that take long.
	hangs := filepath.Join(t.TempDir(), "hangs")
	hanging := writeFile(t, "hanging", "echo $MILLHAND_ID >>"+trail+"\nif [ $(wc -l <"+trail+") -gt 100 ]; then touch "+hangs+"; exec sleep 60; fi\nxargs sha256sum\n")

	b := startBroker(t)
	start := func(script string) *process {
		return startWorker(t, b.URL, "--exec", "checksum=sh "+script, "-c", strconv.Itoa(concurrency), "--ack-wait", "2s")
	}
	start(script)
	victim := start(hanging)
	began := time.Now()
	refs := enqueueFrom(t, b.URL, lines.String(), "checksum", "--from", "-")
	if len(refs) != jobs {
		t.Fatalf("%d jobs enqueued, want %d", len(refs), jobs)
	}
	for _, err := range newClient(t, b.URL).Events(t.Context(), began) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(hangs); err == nil {
			break
		}
	}
	victim.kill(t)
	start(script)

	events := conserved(t, b.URL, refs)
	runs := make(map[string]int)
	for id := range strings.Lines(readFile(t, trail)) {
		runs[strings.TrimSpace(id)]++
	}
	lost, twice := 0, 0
	for i, r := range refs {
		ends := events[r]
		if got, want := string(ends[len(ends)-1].Result), checksum(t, files[i]); got != want {
			t.Errorf("result of %s = %s, want %s", files[i], got, want)
		}
		cut, vanished := 0, 0
		for _, e := range ends {
			switch {
			case e.Kind == millhand.EventLost:
				vanished++
			case e.Kind == millhand.EventHandedBack && strings.Contains(e.Error, "lease"): // a worker without processor time for so long, or before the command began
				cut++
			}
		}
		n := runs[r.ID]
		if n < 1 || n > len(ends) || len(ends) != 1+cut+vanished {
			t.Errorf("job %s ran %d times with events %+v", r.ID, n, ends)
		}
		lost += vanished
		twice += max(0, n-1-cut)
	}
	if lost == 0 || twice > concurrency {
		t.Errorf("the killed worker had %d jobs in hand, of which %d ran again; want some, and at most %d", lost, twice, concurrency)
	}
	t.Logf("the killed worker had %d jobs in hand, %d of them running", lost, twice)
}

// checksum is the line of sha256sum, as the JSON that it becomes.
func checksum(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	line, err := json.Marshal(hex.EncodeToString(sum[:]) + "  " + file + "\n")
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

// goFiles returns the first files of Go's own source tree.
func goFiles(t *testing.T, n int) (files []string) {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case len(files) == n:
			return fs.SkipAll
		case !d.IsDir() && filepath.Ext(path) == ".go":
			files = append(files, path)
		}
		return nil
	})
	if err == nil && len(files) < n {
		err = errors.New("too few of them")
	}
	if err != nil {
		t.Fatalf("Go's own files: %v", err)
	}
	return files
}
