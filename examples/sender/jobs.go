package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/wneessen/go-mail"

	"github.com/millhand/millhand"
)

// Email is a job that sends one mail.
type Email struct {
	To string `json:"to"`
}

// Type implements millhand.Args.
func (Email) Type() string { return "email" }

// A sender delivers mail by SMTP.
type sender struct {
	port int
}

// deliver is the handler. A mail that is on its way is finished even when its job is cancelled: half
// of it cannot be taken back. So within the grace of a cancel the job still succeeds.
func (s *sender) deliver(ctx context.Context, j *millhand.Job[Email]) (string, error) {
	m := mail.NewMsg()
	if err := errors.Join(m.From("sender@world.com"), m.To(j.Args.To)); err != nil {
		return "", millhand.Permanent(err) // another attempt would not make the address better
	}
	m.Subject("Hello")
	m.SetMessageIDWithValue(j.ID + "@world.com") // the same at each attempt, so that mailboxes can tell
	m.SetBodyString(mail.TypeTextPlain, fmt.Sprintf("Hello %s, this is attempt %d.", j.Args.To, j.Attempt))
	c, err := mail.NewClient("127.0.0.1", mail.WithPort(s.port), mail.WithTLSPolicy(mail.NoTLS), mail.WithHELO("localhost"))
	if err != nil {
		return "", err
	}
	err = c.DialAndSendWithContext(context.WithoutCancel(ctx), m)
	if failed, ok := errors.AsType[*mail.SendError](err); ok && failed.ErrorCode() >= 500 { // the server's last word
		return "", millhand.Permanent(err)
	}
	if err != nil {
		return "", err
	}
	return "delivered to " + j.Args.To, nil
}

// newWorker returns a worker that sends mail.
func newWorker(nc *nats.Conn, s *sender) (*millhand.Worker, error) {
	mux := millhand.NewMux()
	millhand.HandleResult(mux, s.deliver)
	return millhand.NewWorker(nc, millhand.WorkerConfig{
		Config: millhand.Config{Logger: slog.New(slog.DiscardHandler)}, Mux: mux, Concurrency: 10,
	})
}
