//go:build !linux

package integration

import "syscall"

func orphanAttr() *syscall.SysProcAttr { return nil }
