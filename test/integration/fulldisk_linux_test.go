package integration

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The disk of the embedded broker fills up while jobs run, and has room again later. Nothing
// is pulled meanwhile, readiness says why, and what had ended is written and not run again.
func TestFullDiskOfTheEmbeddedBroker(t *testing.T) {
	t.Parallel()
	t.Run("file size limit", func(t *testing.T) {
		t.Parallel()
		var before unix.Rlimit
		limit := func(t *testing.T, w *process, to unix.Rlimit, old *unix.Rlimit) {
			t.Helper()
			if err := unix.Prlimit(w.pid(), unix.RLIMIT_FSIZE, &to, old); err != nil {
				t.Fatal(err)
			}
		}
		fullDisk(t, filepath.Join(t.TempDir(), "store"),
			func(t *testing.T, w *process) {
				t.Helper()
				limit(t, w, unix.Rlimit{Cur: 1 << 10, Max: unix.RLIM_INFINITY}, &before)
			},
			func(t *testing.T, w *process) { t.Helper(); limit(t, w, before, nil) })
	})
	t.Run("file system", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
			t.Logf("no file system of our own (%v): only files are limited", err)
			return
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // what is left goes with the process
		fullDisk(t, filepath.Join(dir, "store"),
			func(t *testing.T, _ *process) {
				t.Helper()
				f, err := os.Create(filepath.Join(dir, "fill"))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for chunk := make([]byte, 4<<10); err == nil; {
					_, err = f.Write(chunk)
				}
			},
			func(t *testing.T, _ *process) {
				t.Helper()
				if err := os.Remove(filepath.Join(dir, "fill")); err != nil {
					t.Fatal(err)
				}
			})
	})
}

func fullDisk(t *testing.T, store string, fill, free func(*testing.T, *process)) {
	t.Helper()
	s := newSite(t)
	w := launch(t, "worker", exec.Command(commands.worker, "--store", store, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "-f", s.config, "-c", "4"))
	url := valueIn(w.awaitLog(t, "broker started"), "url=")
	web := valueIn(w.awaitLog(t, "serving health checks"), "url=")
	w.awaitLog(t, "worker started")
	until(t, "it is ready", func() bool { code, _ := get(t, web+"/readyz"); return code == http.StatusOK })

	refs := enqueue(t, url, "visit")
	for range 11 {
		refs = append(refs, enqueue(t, url, "visit")...)
	}
	var running []*visit
	for range 4 {
		running = append(running, s.next(t))
	}
	fill(t, w)
	until(t, "readiness says why", func() bool {
		code, body := get(t, web+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "disk full")
	})
	w.awaitLog(t, "are pulled, and what ends") // of all queues, or of this one
	for _, v := range running {
		v.succeed("{}")
	}
	until(t, "the ends are in hand", func() bool {
		_, body := get(t, web+"/healthz")
		return strings.Contains(body, `"in_hand":0`)
	})
	s.quiet(t)

	free(t, w)
	for range len(refs) - len(running) {
		s.next(t).succeed("{}")
	}
	events := conserved(t, url, refs)
	for _, r := range refs {
		wantKinds(t, events[r], "succeeded")
	}
	s.quiet(t)
	if code, body := get(t, web+"/readyz"); code != http.StatusOK {
		t.Errorf("readyz = %d %s once there is room", code, body)
	}
	w.signal(t, syscall.SIGTERM)
	if code := w.wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func valueIn(line, key string) string {
	_, v, _ := strings.Cut(line, key)
	v, _, _ = strings.Cut(strings.TrimSpace(v), " ")
	return v
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}
