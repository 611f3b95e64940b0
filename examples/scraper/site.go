package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// site is the web: a server on the loopback interface.
type site struct {
	url      string
	listener net.Listener
}

// paths are the pages of the site: some fast ones, and one of each kind that makes trouble. The latter come after the pages that crashes lose.
func (*site) paths() (paths []string) {
	for n := range 14 {
		paths = append(paths, fmt.Sprintf("/page/%d", n))
	}
	return slices.Insert(paths, 2, "/slow", "/missing", "/broken")
}

// listen reserves the site's address.
func listen(ctx context.Context) (*site, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &site{url: "http://" + l.Addr().String(), listener: l}, nil
}

// Run serves until ctx is done. Connections that wait already are served first.
func (s *site) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page/", func(w http.ResponseWriter, r *http.Request) { write(w, "this is "+r.URL.Path) })
	mux.HandleFunc("GET /slow", slow)
	mux.HandleFunc("GET /broken", broken)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	var closing sync.WaitGroup
	defer closing.Wait()
	served, end := context.WithCancel(ctx)
	defer end()
	closing.Go(func() {
		<-served.Done()
		_ = server.Close() // The listener's error says nothing new.
	})
	if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// slow takes its time, but not for a HEAD request.
func slow(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodHead {
		select {
		case <-time.NewTimer(300 * time.Millisecond).C:
		case <-r.Context().Done():
		}
	}
	write(w, "at last")
}

// broken promises more than it sends, and aborts the connection.
func broken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "100")
	if r.Method != http.MethodHead {
		write(w, "half a p")
		panic(http.ErrAbortHandler)
	}
}

func write(w io.Writer, text string) {
	_, _ = io.WriteString(w, text) // A client that has gone needs no answer.
}
