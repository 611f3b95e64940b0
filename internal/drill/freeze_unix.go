//go:build unix

package drill

import (
	"os"
	"syscall"
)

func freeze(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }
func wake(p *os.Process) error   { return p.Signal(syscall.SIGCONT) }
func drain(p *os.Process) error  { return p.Signal(syscall.SIGTERM) }
