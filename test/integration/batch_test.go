package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// batchOf are the ids of a call's jobs, as its command read them.
func batchOf(t *testing.T, line string) (ids []string) {
	t.Helper()
	var jobs []struct{ ID string }
	if err := json.Unmarshal([]byte(line), &jobs); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	for _, j := range jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

// A worker that is killed with a batch in a call loses none of its jobs, and settles none: each runs once
// more, in whatever batch it then is in, and has one end.
func TestKilledWorkersBatchRunsElsewhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := writeFile(t, "batch.sh", fmt.Sprintf(`cd %q
read -r jobs
echo "$jobs" >>calls
[ -e go ] || exec sleep 300
`, dir))
	config := writeFile(t, "types.yaml", fmt.Sprintf(
		"concurrency: 1\ntypes:\n  row: {exec: [sh, %q], batch: {size: 10, wait: 500ms}}\n", script))
	calls := func() []string {
		said, err := os.ReadFile(filepath.Join(dir, "calls"))
		if err != nil {
			return nil
		}
		return slices.Collect(strings.Lines(string(said)))
	}
	b := startBroker(t)
	var lines strings.Builder
	for i := range 25 {
		fmt.Fprintf(&lines, "{\"type\":\"row\",\"payload\":%d}\n", i)
	}
	refs := enqueueFrom(t, b.URL, lines.String(), "--from", "-")
	first := startWorker(t, b.URL, "-f", config, "--ack-wait", (2 * time.Second).String())
	until(t, "a batch is in hand", func() bool { return len(calls()) == 1 })
	first.kill(t)
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	startWorker(t, b.URL, "-f", config)
	events := conserved(t, b.URL, refs)
	inHand := batchOf(t, calls()[0])
	if len(inHand) != 10 {
		t.Errorf("the first call had %d jobs", len(inHand))
	}
	for _, ref := range refs {
		switch got := kinds(events[ref]); {
		case slices.Equal(got, []string{"lost", "succeeded"}):
		case slices.Equal(got, []string{"succeeded"}) && !slices.Contains(inHand, ref.ID):
		default:
			t.Errorf("%s, in the killed call: %t: %q", ref.ID, slices.Contains(inHand, ref.ID), got)
		}
	}
	runs := make(map[string]int)
	for _, line := range calls() {
		for _, id := range batchOf(t, line) {
			runs[id]++
		}
	}
	for _, ref := range refs {
		want := 1
		if slices.Contains(inHand, ref.ID) {
			want = 2
		}
		if runs[ref.ID] != want {
			t.Errorf("%s was in %d calls, want %d", ref.ID, runs[ref.ID], want)
		}
	}
}
