package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"github.com/emersion/go-smtp"
)

// The mailboxes of the example. All others take what comes.
const (
	refuses = "konnichiwa@world.com"
	slow    = "slow@world.com" // takes a mail when the session says so
)

// A mailServer is a real SMTP server on the loopback interface. It keeps who got mail.
type mailServer struct {
	smtp     *smtp.Server
	listener net.Listener
	serving  sync.WaitGroup
	release  chan struct{} // lets the slow mailbox take one mail
	closed   chan struct{}

	mu  sync.Mutex
	got []string
}

func startMailServer() (*mailServer, error) {
	s := &mailServer{release: make(chan struct{}), closed: make(chan struct{})}
	s.smtp = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &delivery{server: s}, nil }))
	s.smtp.Domain = "localhost"
	s.smtp.ErrorLog = quietLog{}
	var err error
	s.listener, err = net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once, on this machine
	if err != nil {
		return nil, err
	}
	s.serving.Go(func() { _ = s.smtp.Serve(s.listener) }) // ends with Close
	return s, nil
}

func (s *mailServer) port() int {
	return int(netip.MustParseAddrPort(s.listener.Addr().String()).Port())
}

// close ends the server and all that waits in it.
func (s *mailServer) close() {
	close(s.closed)
	_ = s.smtp.Close() // nobody sends any more
	s.serving.Wait()
}

// delivered returns how many mails were taken.
func (s *mailServer) delivered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// A delivery is what one client does on one connection.
type delivery struct {
	server *mailServer
	to     []string
}

func (d *delivery) Mail(string, *smtp.MailOptions) error { return nil }

func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to == refuses {
		return &smtp.SMTPError{
			Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: fmt.Sprintf("Oops, couldn't send email to %s!", to),
		}
	}
	d.to = append(d.to, to)
	return nil
}

func (d *delivery) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	for _, to := range d.to {
		if to != slow {
			continue
		}
		select {
		case <-d.server.release:
		case <-d.server.closed:
			return errors.New("the server is closed")
		}
	}
	d.server.mu.Lock()
	defer d.server.mu.Unlock()
	d.server.got = append(d.server.got, d.to...)
	return nil
}

func (d *delivery) Reset()        { d.to = nil }
func (d *delivery) Logout() error { return nil }

// quietLog drops what the server says of clients that hang up.
type quietLog struct{}

func (quietLog) Printf(string, ...any) {}
func (quietLog) Println(...any)        {}
