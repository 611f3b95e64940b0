//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/millhand/millhand"
)

func TestExecStopsWithTheContext(t *testing.T) {
	t.Parallel()
	ready := filepath.Join(t.TempDir(), "ready")
	if err := syscall.Mkfifo(ready, 0o600); err != nil {
		t.Fatal(err)
	}
	h := execHandler(t, newTestMinder(t), "sh", "-c", `trap "echo saved >&2; exit 100" TERM; : >"$0"; while :; do :; done`, ready)
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_, err := h(ctx, newJob("{}"))
		if want := errors.New("command stopped: saved"); !sameKind(err, want) {
			t.Errorf("err = %#v, want %v, not permanent", err, want)
		}
	})
	if _, err := os.ReadFile(ready); err != nil {
		t.Error(err)
	}
	cancel(millhand.ErrTimeout)
}
