package integration

import "syscall"

// orphanAttr has a process killed when the tests end without their cleanup, as on a
// timeout: it would try to reach its broker for ever.
func orphanAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
