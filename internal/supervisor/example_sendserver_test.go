package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// sendState is the state of a server that sends e-mails and tries the failed ones again.
type sendState struct {
	Emails     []mail // newest first; one that was tried again moves to the front
	MaxRetries int    `json:"max_retries"`
}

type mail struct {
	Email   string
	Retries int
	Status  string // sent, failed
}

type sendMessage interface{ isSendMessage() }

type (
	send  struct{ email string }
	state struct{ reply Reply[sendState] }
	tick  struct{}
)

func (send) isSendMessage()  {}
func (state) isSendMessage() {}
func (tick) isSendMessage()  {}

// sendServer is the book's SendServer.
type sendServer struct {
	self    *Self[sendMessage]
	every   time.Duration
	deliver func(email string) error
	state   sendState
}

// newSendServer makes a server that calls deliver for every e-mail, and again at every tick for
// those that failed, up to maxRetries times each; zero means 5.
func newSendServer(maxRetries int, every time.Duration, deliver func(string) error) (*Server[sendMessage], error) {
	if maxRetries == 0 {
		maxRetries = 5
	}
	return NewServer(ServerSpec[sendMessage]{
		Name: "send",
		Init: func(_ context.Context, self *Self[sendMessage]) (Handler[sendMessage], error) {
			self.After(every, tick{})
			return &sendServer{
				self: self, every: every, deliver: deliver, state: sendState{MaxRetries: maxRetries, Emails: []mail{}},
			}, nil
		},
	})
}

func (s *sendServer) Handle(_ context.Context, msg sendMessage) error {
	switch m := msg.(type) {
	case send:
		s.try(mail{Email: m.email})
	case state:
		m.reply.Send(sendState{Emails: slices.Clone(s.state.Emails), MaxRetries: s.state.MaxRetries})
	case tick:
		s.retry()
		s.self.After(s.every, tick{})
	}
	return nil
}

// try sends m and puts it to the front.
func (s *sendServer) try(m mail) {
	m.Status = "sent"
	if err := s.deliver(m.Email); err != nil {
		m.Status = "failed"
	}
	s.state.Emails = slices.Insert(s.state.Emails, 0, m)
}

// retry sends what failed and may be tried once more.
func (s *sendServer) retry() {
	failed := func(m mail) bool { return m.Status == "failed" && m.Retries < s.state.MaxRetries }
	var again []mail
	for _, m := range s.state.Emails {
		if failed(m) {
			again = append(again, m)
		}
	}
	s.state.Emails = slices.DeleteFunc(s.state.Emails, failed)
	for _, m := range again {
		m.Retries++
		s.try(m)
	}
}

// A server that sends e-mails, and tries those that failed again until it has tried often enough.
func ExampleServer() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tried := make(chan struct{})
	server, err := newSendServer(2, 10*time.Millisecond, func(email string) error {
		if email != "konnichiwa@world.com" {
			return nil
		}
		tried <- struct{}{}
		return errors.New("connection refused")
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	tree, err := New(Spec{Name: "app", Children: []Child{{Name: "send", Part: server}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ready, done := make(chan struct{}), make(chan error)
	go func() { done <- tree.RunReady(ctx, func() { close(ready) }) }()
	<-ready

	_ = server.Cast(ctx, send{"hello@world.com"}) // fails only if the server is gone, as Call does below
	_ = server.Cast(ctx, send{"konnichiwa@world.com"})
	for range 3 {
		<-tried
	}
	s, err := Call(ctx, server, func(r Reply[sendState]) sendMessage { return state{r} })
	fmt.Println(s.Emails, err)
	cancel()
	fmt.Println(<-done)
	// Output:
	// [{konnichiwa@world.com 2 failed} {hello@world.com 0 sent}] <nil>
	// <nil>
}
