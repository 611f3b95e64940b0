//go:build linux

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A command outlives neither the permit of the worker that started it nor its own
// children: what counts are the processes there are.
func TestQuotaOfCommands(t *testing.T) {
	t.Parallel()
	const limit = 3
	b := startBroker(t)
	mark := fmt.Sprintf("30.%09d", os.Getpid()) // seconds, and in nobody else's command line
	config := writeFile(t, "worker.yaml", fmt.Sprintf(`
types:
  import:
    exec: ["sh", "-c", "sleep %s & wait"]
    quota: %d
`, mark, limit))
	worker := []string{"-f", config, "-c", "10", "--ack-wait", "5s", "--permit-ttl", permitTTL.String()}
	enqueueFrom(t, b.URL, strings.Repeat("{\"type\":\"import\"}\n", 20), "--from", "-")

	most := 0
	watch := func(what string, ok func(running int) bool) {
		t.Helper()
		until(t, what, func() bool {
			n := commandsWith(t, mark)
			most = max(most, n)
			return ok(n)
		})
	}
	first := startWorker(t, b.URL, worker...)
	watch("the quota is used", func(n int) bool { return n == limit })
	startWorker(t, b.URL, worker...)
	first.kill(t)
	watch("the killed worker's commands end", func(n int) bool { return n < limit })
	watch("others take their place", func(n int) bool { return n == limit })
	third := startWorker(t, b.URL, worker...)
	for range 2 {
		third.freeze(t)
		end := time.Now().Add(2 * permitTTL)
		watch("the freeze outlasts the permits", func(int) bool { return time.Now().After(end) })
		third.thaw(t)
		watch("the quota is used again", func(n int) bool { return n == limit })
	}
	if most > limit {
		t.Errorf("%d commands at once; the quota is %d", most, limit)
	}
}

// commandsWith counts the processes of "sleep" with an argument, which are grandchildren
// of their workers.
func commandsWith(t *testing.T, arg string) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range lines {
		b, err := os.ReadFile(line)
		if err == nil && string(b) == "sleep\x00"+arg+"\x00" {
			n++
		}
	}
	return n
}
