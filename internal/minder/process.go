//go:build unix

package minder

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is the minder as the worker sees it.
type process struct {
	cmd     *exec.Cmd
	control *net.UnixConn
	bury    sync.Once
}

// marker tells a minder's command line from any other.
const marker = "__mind"

// answerWithin is how long a minder may be silent, and may take to end.
const answerWithin = 10 * time.Second

func startProcess() (*process, error) {
	self, err := selfPath()
	if err != nil {
		return nil, err
	}
	control, theirs, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = theirs.Close() }() // the minder has its own
	p := &process{control: control, cmd: &exec.Cmd{
		Path: self, Args: []string{"millhand-minder", marker},
		Env: ownEnvironment(os.Environ()), Stderr: os.Stderr, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, // out of reach of the terminal's signals
	}}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, control.Close())
	}
	return p, nil
}

// ownEnvironment is what the minder needs of the worker's environment, which may hold
// secrets: the settings of Go's runtime. Each command comes with an environment of its own.
func ownEnvironment(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(entry string) bool {
		switch name, _, _ := strings.Cut(entry, "="); name {
		case "GOCOVERDIR", "GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK":
			return false
		}
		return true
	})
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// pipes is how many a command has: descriptors 0 to [ControlDescriptor].
const pipes = ControlDescriptor + 1

// open passes the minder its ends of a new run. An error that is ErrMinderDied says that
// there is no one to take them.
func (p *process) open(c Command) (_ *run, err error) {
	r := &run{
		Command: c, process: p,
		orders: make(chan order, 1), reports: make(chan report), released: make(chan struct{}),
		result: limited{full: make(chan struct{})},
	}
	var theirs [1 + pipes]*os.File
	defer func() {
		closeAll(theirs[:])
		if err != nil {
			r.close()
		}
	}()
	if r.conn, theirs[0], err = socketpair(); err != nil {
		return nil, err
	}
	if theirs[1], r.stdin, err = os.Pipe(); err != nil {
		return nil, err
	}
	if r.stdout, theirs[2], err = os.Pipe(); err != nil {
		return nil, err
	}
	if r.stderr, theirs[3], err = os.Pipe(); err != nil {
		return nil, err
	}
	if r.control, theirs[1+ControlDescriptor], err = os.Pipe(); err != nil {
		return nil, err
	}
	fds := make([]int, len(theirs))
	for i, f := range theirs {
		fds[i] = int(f.Fd())
	}
	err = p.control.SetWriteDeadline(time.Now().Add(answerWithin))
	if err == nil {
		_, _, err = p.control.WriteMsgUnix([]byte{0}, syscall.UnixRights(fds...), nil)
	}
	switch {
	case errors.Is(err, syscall.ETOOMANYREFS), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return nil, fmt.Errorf("pass descriptors to the minder: %w", err) // it has to take others first
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMinderDied, err)
	}
	return r, nil
}

// livesOn reports whether the minder has not hung up, though a run's socket was closed. A
// process that dies has its descriptors closed one after the other.
func (p *process) livesOn() bool {
	const pauses = 20
	for range pauses {
		if !p.alive() {
			return false
		}
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
	}
	return true
}

// alive reports whether the minder has not hung up.
func (p *process) alive() bool {
	raw, err := p.control.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK) // does not block
		alive = errors.Is(err, syscall.EAGAIN)
	})
	return alive && err == nil
}

// kill ends the process and what it started, at once, and returns what does not end. The
// worker learns a command's group only when it runs already, so the last of them are found
// by their session. Its number is taken for as long as the process is not waited for.
func (p *process) kill() (left []int, err error) {
	_ = p.cmd.Process.Kill() // it may be dead
	left = sweep(p.pid())
	return left, errors.Join(p.cmd.Wait(), p.control.Close())
}

// finish lets the process kill what it started and end, and returns what does not.
func (p *process) finish() (left []int) {
	_ = p.control.Close() // nothing was written that could be lost
	late := time.AfterFunc(answerWithin, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	awaitExit(p.pid())
	left = sweep(p.pid())
	_ = p.cmd.Wait() // however it ended
	return left
}

// socketpair returns two connected sockets, the second one to give away. Neither is
// inherited by a process that someone else starts.
func socketpair() (*net.UnixConn, *os.File, error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "minder")
	ours, err := unixConn(fds[0])
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// unixConn takes over a socket.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "worker")
	defer func() { _ = f.Close() }() // the connection is a copy
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("not a unix socket"), c.Close())
	}
	return conn, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // pipes and sockets: nothing is buffered
		}
	}
}
