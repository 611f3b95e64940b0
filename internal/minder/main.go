//go:build unix

package minder

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Main is the minder's process: it minds commands until the worker is gone and returns
// true. In any other process it returns false at once. A program that runs commands
// calls it first thing in main, and its tests first thing in TestMain.
func Main() bool {
	if len(os.Args) != 2 || os.Args[1] != marker {
		return false
	}
	const fd = 3 // exec.Cmd's first extra file
	syscall.CloseOnExec(fd)
	control, err := unixConn(fd)
	if err != nil {
		fmt.Fprintln(os.Stderr, "minder: not started by a worker:", err)
		return true
	}
	serve(control)
	return true
}

// A ward is all commands in the minder's care.
type ward struct {
	over chan struct{} // closed when the worker is gone

	mu      sync.Mutex
	leaders map[int]chan<- syscall.WaitStatus // by pid, those not reaped
}

func serve(control *net.UnixConn) {
	// Caught, not ignored: the commands would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	exits := make(chan os.Signal, 1)
	signal.Notify(exits, syscall.SIGCHLD)
	adoptOrphans()

	w := &ward{over: make(chan struct{}), leaders: make(map[int]chan<- syscall.WaitStatus)}
	done := make(chan struct{})
	var reaper, commands sync.WaitGroup
	reaper.Go(func() {
		for {
			select {
			case <-exits:
				w.reap()
			case <-done:
				return
			}
		}
	})
	for {
		conn, files, err := accept(control)
		if err != nil {
			break
		}
		commands.Go(func() { w.mind(conn, files) })
	}
	close(w.over)
	commands.Wait()
	close(done)
	reaper.Wait()
}

// accept takes a run's socket and its command's three files from the worker.
func accept(control *net.UnixConn) (*net.UnixConn, []int, error) {
	var b [1]byte
	oob := make([]byte, syscall.CmsgSpace(4*4))
	_, n, _, _, err := control.ReadMsgUnix(b[:], oob)
	if err != nil {
		return nil, nil, err
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, nil, errors.Join(errors.New("worker hung up"), err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 4 {
		return nil, nil, errors.Join(errors.New("too few descriptors"), err)
	}
	conn, err := unixConn(fds[0])
	return conn, fds[1:], err
}

// reap takes in all children that have exited: leaders, and orphans of their groups.
func (w *ward) reap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if pid <= 0 {
			return
		}
		if ended, ok := w.leaders[pid]; ok {
			delete(w.leaders, pid)
			ended <- status
		}
	}
}
