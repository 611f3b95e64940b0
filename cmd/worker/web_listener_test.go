package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A pipeListener is a listener without sockets, so that it can be in a bubble.
type pipeListener struct {
	conns chan net.Conn
	end   chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), end: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.end:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.end) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	go func() {
		select {
		case l.conns <- theirs:
		case <-l.end:
			_ = theirs.Close()
		}
	}()
	return ours
}

// serveWeb serves an answer at any path, in a bubble.
func serveWeb(t *testing.T) *pipeListener {
	t.Helper()
	l := newPipeListener()
	server := newWebServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "fine") }))
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(bound(l, webConns)) })
	t.Cleanup(func() {
		_ = server.Close()
		wg.Wait()
	})
	return l
}

// ask sends a request and reads the answer.
func ask(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Errorf("ask: %v", err)
		return
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Errorf("answer: %v", err)
		return
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "fine" {
		t.Errorf("answer = %q, %v", body, err)
	}
	_ = resp.Body.Close()
}

// No client keeps a connection for longer than it has a use for, however slow it is.
func TestSlowClientsAreLetGo(t *testing.T) {
	for _, tt := range []struct {
		name string
		send func(t *testing.T, c net.Conn)
		most time.Duration
	}{
		{"says nothing", func(*testing.T, net.Conn) {}, webHeader},
		{"half a head", func(_ *testing.T, c net.Conn) { _, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHo") }, webHeader},
		{"no body", func(_ *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
		}, webRequest},
		{"one request", ask, webIdle},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := serveWeb(t).dial()
				defer c.Close()
				tt.send(t, c)
				begin := time.Now()
				_, _ = io.Copy(io.Discard, c) // until the server closes it
				if took := time.Since(begin); took > tt.most+time.Second {
					t.Errorf("closed after %v, want at most %v", took, tt.most)
				}
			})
		})
	}
}

// However many clients there are, they take no more than so many descriptors, and those that
// come later have their turn.
func TestManyClientsWaitTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := serveWeb(t)
		var silent []net.Conn
		for range webConns {
			silent = append(silent, l.dial())
		}
		synctest.Wait()
		waiting, theirs := net.Pipe()
		select {
		case l.conns <- theirs:
			t.Error("one more was accepted")
		case <-time.NewTimer(time.Second).C:
		}
		go func() {
			select {
			case l.conns <- theirs:
			case <-l.end:
			}
		}()
		ask(t, waiting) // when the silent ones are let go
		for _, c := range append(silent, waiting) {
			_ = c.Close()
		}
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		given, want string
		exposed     bool
	}{
		{":8080", "127.0.0.1:8080", false},
		{":0", "127.0.0.1:0", false},
		{"127.0.0.1:8080", "127.0.0.1:8080", false},
		{"localhost:8080", "localhost:8080", false},
		{"[::1]:8080", "[::1]:8080", false},
		{"0.0.0.0:8080", "0.0.0.0:8080", true},
		{"[::]:8080", "[::]:8080", true},
		{"10.1.2.3:8080", "10.1.2.3:8080", true},
		{"worker.example:8080", "worker.example:8080", true},
	} {
		got := withHost(tt.given)
		if got != tt.want || exposed(got) != tt.exposed {
			t.Errorf("%s: %s, exposed %v, want %s, %v", tt.given, got, exposed(got), tt.want, tt.exposed)
		}
	}
}
