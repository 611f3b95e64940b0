package main

import (
	"cmp"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of what clients of the health checks can take up. The broker and the jobs of the
// same process need descriptors as well.
const (
	webConns     = 256
	webHeader    = 5 * time.Second // for the head of a request
	webRequest   = 5 * time.Second
	webAnswer    = 30 * time.Second
	webIdle      = 5 * time.Second // between two requests: few, for a probe to have its turn
	webHeadBytes = 16 << 10
)

func newWebServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: webHeader, ReadTimeout: webRequest, WriteTimeout: webAnswer, IdleTimeout: webIdle,
		MaxHeaderBytes: webHeadBytes,
	}
}

// A bounded listener accepts a connection when there are fewer than it may have. The others
// wait in the kernel, where they cost this process nothing.
type bounded struct {
	net.Listener
	room   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func bound(l net.Listener, most int) *bounded {
	return &bounded{Listener: l, room: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept implements [net.Listener].
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.room <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.room
		return nil, err
	}
	return &counted{Conn: conn, gone: func() { <-b.room }}, nil
}

// Close implements [net.Listener].
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

// A counted connection makes room when it is closed.
type counted struct {
	net.Conn
	once sync.Once
	gone func()
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.gone)
	return err
}

// withHost is an address without a host completed: it is this host's own, for both flags.
func withHost(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address // refused by who uses it
	}
	return net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port)
}

// withPort is an address with the port that was found for its port 0. Its host stays: a listener
// on 0.0.0.0 says that it is on [::].
func withPort(address string, found net.Addr) string {
	host, _, err := net.SplitHostPort(address)
	tcp, ok := found.(*net.TCPAddr)
	if err != nil || !ok {
		return found.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

// exposed reports whether others than this host can reach an address.
func exposed(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}
