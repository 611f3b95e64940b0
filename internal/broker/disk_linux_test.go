package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

// A disk that fills up and has room again. There is nobody at the keyboard.
func TestFullDiskHealsByItself(t *testing.T) {
	for name, small := range map[string]func(t *testing.T) (store string, fill, free func()){
		"file size limit": limitedFiles,
		"file system":     smallFileSystem,
	} {
		t.Run(name, func(t *testing.T) {
			store, fill, free := small(t)
			if store == "" {
				return // it said why
			}
			fullDiskHeals(t, store, fill, free)
		})
	}
}

func fullDiskHeals(t *testing.T, store string, fill, free func()) {
	t.Helper()
	log := &logBuffer{}
	b := start(t, Config{Store: store, Logger: slog.New(slog.NewTextHandler(log, nil))})
	js := jetStream(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	if err := b.Err(); err != nil {
		t.Errorf("Err = %v before anything happened", err)
	}

	fill()
	stored := uint64(0)
	for refused := false; !refused && ctx.Err() == nil; {
		try, stop := context.WithTimeout(ctx, time.Second)
		_, err := js.Publish(try, "s", make([]byte, 64<<10))
		stop()
		if refused = err != nil; !refused {
			stored++
		}
	}
	await(ctx, t, "the reason", func() bool { return b.Err() != nil && strings.Contains(b.Err().Error(), "disk full") })
	select {
	case err := <-ran:
		t.Fatalf("Run = %v while the disk is full: a server that is restarted there fails again", err)
	default:
	}
	// What can be read still is.
	if got := messageCount(t, js, "S"); got != stored {
		t.Errorf("%d messages while the disk is full, want %d", got, stored)
	}

	free()
	back := js.Conn().StatusChanged(nats.CONNECTED)
	if err := <-ran; !errors.Is(err, errNoWrites) {
		t.Fatalf("Run = %v once there is room, want %v", err, errNoWrites)
	}
	go func() { ran <- b.Run(ctx) }() // as a supervisor does
	<-back
	if err := b.Err(); err != nil {
		t.Errorf("Err = %v after the restart", err)
	}
	if _, err := js.Publish(ctx, "s", nil); err != nil {
		t.Errorf("publish after the restart: %v", err)
	}
	if got := messageCount(t, js, "S"); got != stored+1 {
		t.Errorf("%d messages after the restart, want %d: what was acknowledged and no more", got, stored+1)
	}
	if got := strings.Count(log.String(), "the broker stores nothing"); got == 0 || got > 7 {
		t.Errorf("the log says %d times that the disk is full, want it once in ten seconds:\n%s", got, log)
	}
	for _, want := range []string{"make room where " + store, "takes writes again"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run = %v at the end", err)
	}
	if _, err := os.Stat(filepath.Join(store, trialName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file that was written to find out is still there: %v", err)
	}
}

// smallFileSystem mounts a file system of its own, which takes the right to.
func smallFileSystem(t *testing.T) (store string, fill, free func()) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Logf("no file system of our own (%v): only files are limited", err)
		return "", nil, nil
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // what is left goes with the process
	filler := filepath.Join(dir, "fill")
	fill = func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for chunk := make([]byte, 4<<10); err == nil; {
			_, err = f.Write(chunk)
		}
	}
	free = func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "store"), fill, free
}

// limitedFiles has every file of this process end where the limit is: to whoever writes, a
// full disk.
func limitedFiles(t *testing.T) (store string, fill, free func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	t.Cleanup(func() { signal.Reset(syscall.SIGXFSZ) })
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	set := func(l unix.Rlimit) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &l); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { set(before) })
	small := before
	small.Cur = 512 << 10
	return filepath.Join(t.TempDir(), "store"), func() { set(small) }, func() { set(before) }
}

func await(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: did not come", what)
		}
	}
}

func TestFullIsTold(t *testing.T) {
	for err, want := range map[error]bool{
		&os.PathError{Op: "write", Err: syscall.ENOSPC}: true,
		fmt.Errorf("in between: %w", syscall.EDQUOT):    true,
		&os.PathError{Op: "write", Err: syscall.EFBIG}:  true,
		&os.PathError{Op: "open", Err: syscall.EROFS}:   false,
		&os.PathError{Op: "open", Err: syscall.EACCES}:  false,
		context.DeadlineExceeded:                        false,
	} {
		if got := isFull(err); got != want {
			t.Errorf("isFull(%v) = %t", err, got)
		}
	}
}
