//go:build unix

package minder

import (
	"bytes"
	"os"
	"testing"
	"time"
)

// What a command has written counts, however late it is read and whoever holds the pipe.
func TestCollectTakesWhatIsThere(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	want := bytes.Repeat([]byte("x"), 50_000)
	if _, err := w.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	collect(r, &got)
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("collected %d bytes, want %d", got.Len(), len(want))
	}
}

func TestLimited(t *testing.T) {
	l := limited{full: make(chan struct{})}
	for range MaxOutput / 1024 {
		_, _ = l.Write(make([]byte, 1024))
	}
	if l.over || l.buf.Len() != MaxOutput {
		t.Fatalf("at the limit: over = %v, %d bytes", l.over, l.buf.Len())
	}
	for range 2 {
		if n, err := l.Write([]byte("x")); n != 1 || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	}
	if <-l.full; !l.over || l.buf.Len() != MaxOutput {
		t.Errorf("beyond the limit: over = %v, %d bytes", l.over, l.buf.Len())
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var all []byte
	var tl tail
	for i := range 300 {
		part := bytes.Repeat([]byte{byte(i)}, i*7)
		all = append(all, part...)
		if n, err := tl.Write(part); n != len(part) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		if want := all[max(0, len(all)-StderrTail):]; !bytes.Equal(tl.bytes(), want) {
			t.Fatalf("after %d bytes the tail is not their end", len(all))
		}
	}
	if cap(tl.buf) > 8*StderrTail {
		t.Errorf("the tail takes %d bytes", cap(tl.buf))
	}
}
