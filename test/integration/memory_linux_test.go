package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A worker with large jobs and results stays within its container, however fast they come.
func TestMemoryOfLargeJobs(t *testing.T) {
	const (
		container = 96 << 20
		size      = 900_000
	)
	jobs := 200
	if natstest.UnderRace() {
		jobs = 20 // it has more memory of its own than all of them
	}
	t.Parallel()
	b := startBroker(t)
	line := `{"payload":"` + strings.Repeat("x", size) + `"}` + "\n"
	refs := enqueue(t, b.URL, "--from", writeFile(t, "jobs.ndjson", strings.Repeat(line, jobs)), "echo")
	cmd := exec.Command(commands.worker, "--http", "", "-s", b.URL, "-c", "2")
	contain(t, cmd, container)
	w := launch(t, "worker", cmd)
	w.awaitLog(t, "worker started")
	nc, err := dial(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the jobs end", func() bool {
		for len(refs) > 0 {
			info, err := client.Get(t.Context(), refs[0])
			if err != nil || info.State != millhand.Succeeded {
				return false
			}
			refs = refs[1:]
		}
		return true
	})
	limit := container
	if natstest.UnderRace() {
		limit *= 10 // the detector's own memory
	}
	peak := peakMemory(t, w.pid())
	t.Logf("peak of %d MiB in a container of %d MiB", peak>>20, container>>20)
	if peak > limit {
		t.Errorf("the worker had %d MiB, its container has %d MiB", peak>>20, limit>>20)
	}
}

// contain has a command run in a container of so many bytes: a cgroup, where one may be made.
// Elsewhere Go is told of the limit, as it is by whoever cannot have cgroups read.
func contain(t *testing.T, cmd *exec.Cmd, limit int) {
	t.Helper()
	cmd.Env = environment(t)
	group := filepath.Join("/sys/fs/cgroup/memory", "millhand-test-"+strconv.Itoa(os.Getpid()))
	if natstest.UnderRace() || os.Mkdir(group, 0o755) != nil {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", limit*3/4))
		return
	}
	t.Cleanup(func() { _ = os.Remove(group) }) // what is left of it is empty
	if err := os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte(strconv.Itoa(limit)), 0o600); err != nil {
		t.Fatal(err)
	}
	worker := append([]string{cmd.Path}, cmd.Args[1:]...)
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(group, "cgroup.procs")}, worker...)
}

// peakMemory returns the most that a process has had, bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		if peak, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(peak)), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no VmHWM in %s", status)
	return 0
}
