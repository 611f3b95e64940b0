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
		fmt.Fprintln(os.Stderr, "minder: only a worker can start this, for its commands:", err)
		os.Exit(exitUsage)
	}
	serve(control)
	return true
}

// exitUsage is the exit code of one who calls a program in a wrong way.
const exitUsage = 2

// commands are all those in the minder's care.
type commands struct {
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

	cs := &commands{over: make(chan struct{}), leaders: make(map[int]chan<- syscall.WaitStatus)}
	done := make(chan struct{})
	var reaper, running sync.WaitGroup
	reaper.Go(func() {
		for {
			select {
			case <-exits:
				cs.reap()
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
		if conn != nil {
			running.Go(func() { cs.mind(conn, files) })
		}
	}
	close(cs.over)
	running.Wait()
	close(done)
	reaper.Wait()
}

// accept takes a run's socket and its command's pipes from the worker. A process that
// has no descriptors left gets fewer, or none: then conn may be nil. An error says that the
// worker is gone.
func accept(control *net.UnixConn) (conn *net.UnixConn, files []int, err error) {
	var b [1]byte
	oob := make([]byte, syscall.CmsgSpace((1+pipes)*4))
	_, n, _, _, err := control.ReadMsgUnix(b[:], oob)
	if err != nil {
		return nil, nil, err
	}
	messages, err := syscall.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, nil, nil //nolint:nilerr // as if none had come
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return nil, nil, nil //nolint:nilerr // as if none had come
	}
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
	}
	if conn, err = unixConn(fds[0]); err != nil { // it is closed: the worker sees that
		closeFiles(fds[1:])
		return nil, nil, nil //nolint:nilerr // as if none had come
	}
	return conn, fds[1:], nil
}

func closeFiles(fds []int) {
	for _, fd := range fds {
		_ = syscall.Close(fd) // pipes: nothing is buffered
	}
}

// reap takes in all children that have exited: leaders, and orphans of their groups.
func (cs *commands) reap() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if pid <= 0 {
			return
		}
		if ended, ok := cs.leaders[pid]; ok {
			delete(cs.leaders, pid)
			ended <- status
		}
	}
}
