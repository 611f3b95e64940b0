package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestOutOfResources(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("too many open files"), false},
		{fmt.Errorf("x: %w", os.NewSyscallError("pipe2", syscall.EMFILE)), true},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.ENFILE)}, true},
		{&os.PathError{Op: "fork/exec", Path: "/bin/sh", Err: syscall.EAGAIN}, true},
		{syscall.ENOMEM, true},
		{syscall.ETOOMANYREFS, true},
		{syscall.ECONNREFUSED, false},
		{syscall.E2BIG, false},
		{syscall.ENOENT, false},
	} {
		if got := outOfResources(tt.err); got != tt.want {
			t.Errorf("outOfResources(%v) = %v", tt.err, got)
		}
	}
}

// A shortage that passes costs a job nothing but time; one that lasts, or a stop, has it handed back.
func TestPatiently(t *testing.T) {
	for _, tt := range []struct {
		name      string
		lasts     time.Duration // the shortage
		stop      time.Duration // of the worker; 0: none
		handsBack bool
		within    time.Duration
	}{
		{name: "no shortage"},
		{name: "a short one", lasts: 2 * time.Second, within: 3 * time.Second},
		{name: "a long one", lasts: time.Hour, handsBack: true, within: shortageWithin},
		{name: "a stop meanwhile", lasts: time.Hour, stop: time.Second, handsBack: true, within: time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				own := newTrouble(slog.New(slog.NewTextHandler(&log, nil)))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.stop > 0 {
					time.AfterFunc(tt.stop, cancel)
				}
				start := time.Now()
				got, err := own.patiently(ctx, func() ([]byte, error) {
					if time.Since(start) < tt.lasts {
						return nil, os.NewSyscallError("pipe2", syscall.EMFILE)
					}
					return []byte("done"), nil
				})
				if handedBack(err) != tt.handsBack || (string(got) == "done") == tt.handsBack {
					t.Errorf("got %q, %#v", got, err)
				}
				if took := time.Since(start); took > tt.within {
					t.Errorf("it took %v", took)
				}
				if want := map[bool]int{true: 1}[tt.lasts > 0]; strings.Count(log.String(), "level=WARN") != want {
					t.Errorf("log: %s, want %d lines", log.String(), want)
				}
			})
		})
	}
}
