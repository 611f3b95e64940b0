//go:build unix

package minder

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
)

// limited keeps up to MaxOutput bytes and closes full on the first one beyond.
type limited struct {
	buf  bytes.Buffer
	over bool
	full chan struct{}
}

func (l *limited) Write(p []byte) (int, error) {
	if !l.over && l.buf.Len()+len(p) > MaxOutput {
		l.over = true
		close(l.full)
	}
	if !l.over {
		l.buf.Write(p)
	}
	return len(p), nil
}

// tail keeps the last StderrTail bytes.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p[max(0, len(p)-StderrTail):]...)
	if len(t.buf) > 2*StderrTail {
		t.buf = append(t.buf[:0], t.bytes()...)
	}
	return len(p), nil
}

func (t *tail) bytes() []byte { return t.buf[max(0, len(t.buf)-StderrTail):] }

// collect reads a pipe to its end. A process that has left the command's group may hold
// the other end for ever, so from the read deadline on it takes what is there, not more
// than a pipe holds.
func collect(f *os.File, w io.Writer) {
	if _, err := io.Copy(w, f); !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	const pipeMax = 1 << 20
	buf := make([]byte, 64<<10)
	for taken, n := 0, 1; n > 0 && taken < pipeMax; taken += n {
		err := conn.Control(func(fd uintptr) { n, err = syscall.Read(int(fd), buf) })
		if err != nil || n <= 0 {
			return
		}
		_, _ = w.Write(buf[:n]) // neither writer fails
	}
}
