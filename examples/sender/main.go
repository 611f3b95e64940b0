// Command sender is the mailer of "Concurrent Data Processing in Elixir", whose notify_all sends mail to a list of
// addresses of which one makes it raise. There the tasks live and die with the process that started them. Here each mail
// is a job: it is known by its id, from any process, and it outlives whoever asked for it.
//
// The session shows what a caller can do with a job besides starting it: await it, poll it, cancel it, and map a
// list to jobs and take the results as a loop. Mail goes by real SMTP to a server on the loopback interface.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sender:", err)
		os.Exit(1)
	}
}

// run starts a mail server, a broker and a worker, and plays the session.
func run(ctx context.Context, out io.Writer) (err error) {
	b, stopBroker, err := broker.StartTemporary("sender", broker.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopBroker()) }()
	nc, err := nats.Connect("", append(millhand.ConnectOptions(nil), nats.InProcessServer(b))...)
	if err != nil {
		return err
	}
	defer nc.Close()
	client, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		return err
	}
	mails, err := startMailServer()
	if err != nil {
		return err
	}
	w, err := newWorker(nc, &sender{port: mails.port()}) //nolint:contextcheck // it outlives the call
	if err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var ended error
	wg.Go(func() { ended = w.Run(working) })
	defer func() {
		mails.close() // lets handlers end that the session has given up
		stop()
		wg.Wait()
		err = errors.Join(err, ended)
	}()
	s := &session{client: client, mails: mails, out: out}
	for _, act := range []func(context.Context) error{s.await, s.poll, s.cancel, s.ordered, s.unordered, s.timeout, s.leave} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// session is what one types into a shell.
type session struct {
	client *millhand.Client
	mails  *mailServer
	out    io.Writer
}

func (s *session) say(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format+"\n", args...) } // to look at

// await sends a mail and waits until it is delivered.
func (s *session) await(ctx context.Context) error {
	result, err := millhand.Call[string](ctx, s.client, Email{To: "hello@world.com"})
	s.say("await:     %s", result)
	return err
}

// poll looks after a mail now and then.
func (s *session) poll(ctx context.Context) error {
	ref, err := s.client.Enqueue(ctx, Email{To: slow})
	if err != nil {
		return err
	}
	_, done, err := millhand.Poll[string](ctx, s.client, ref)
	if err != nil {
		return err
	}
	s.say("poll:      done %v", done)
	if err := s.release(ctx); err != nil {
		return err
	}
	if _, err := s.client.Await(ctx, ref); err != nil {
		return err
	}
	result, done, err := millhand.Poll[string](ctx, s.client, ref)
	s.say("poll:      done %v, %s", done, result)
	return err
}

// cancel ends two mails that are on their way: one may be finished, the other is given up at once.
func (s *session) cancel(ctx context.Context) error {
	for _, grace := range []time.Duration{time.Minute, 0} {
		ref, err := s.startSlow(ctx)
		if err != nil {
			return err
		}
		c, err := s.client.Cancel(ctx, ref, millhand.WithGrace(grace))
		if err != nil {
			return err
		}
		if grace > 0 {
			err = s.release(ctx)
		}
		info, ended := s.client.Await(ctx, ref)
		s.say("cancel:    its worker was told: %v; with a grace of %v it is %s", c.Worker != "", grace, info.State)
		if grace == 0 {
			err = s.release(ctx) // its handler, which was given up, still waits for the mailbox
		}
		if ended != nil && !errors.Is(ended, millhand.ErrCancelled) {
			return ended
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// startSlow sends a mail to the slow mailbox and returns when its handler runs.
func (s *session) startSlow(ctx context.Context) (millhand.Ref, error) {
	ref, err := s.client.Enqueue(ctx, Email{To: slow})
	if err != nil {
		return ref, err
	}
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		running, err := s.client.Running(ctx, Email{}.Type())
		if err != nil || slices.ContainsFunc(running, func(r millhand.RunningJob) bool { return r.ID == ref.ID }) {
			return ref, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ref, context.Cause(ctx)
		}
	}
}

// release lets the slow mailbox take a mail.
func (s *session) release(ctx context.Context) error {
	select {
	case s.mails.release <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// notifyAll sends mails to all addresses, two at a time, and calls got for each as it is told of it.
func (s *session) notifyAll(ctx context.Context, cfg millhand.MapConfig, got func(to, result string, err error) bool, to ...string) {
	cfg.InFlight = 2
	emails := func(yield func(Email) bool) {
		for _, address := range to {
			if !yield(Email{To: address}) {
				return
			}
		}
	}
	for d, err := range millhand.Map[string](ctx, s.client, emails, cfg) {
		if !got(d.Args.To, d.Result, err) {
			return
		}
	}
}

// show prints one line for a mail.
func (s *session) show(what, to, result string, err error) {
	failed, isFailed := errors.AsType[*millhand.FailedError](err)
	switch {
	case err == nil:
		s.say("%-10s %s", what, result)
	case isFailed:
		s.say("%-10s %s: dead, %s", what, to, failed.Reason)
	default:
		s.say("%-10s %s: %v", what, to, err)
	}
}

// ordered is the book's notify_all: one address is refused, and the others get their mail.
func (s *session) ordered(ctx context.Context) error {
	s.notifyAll(ctx, millhand.MapConfig{}, func(to, result string, err error) bool {
		s.show("ordered:", to, result, err)
		return true
	}, "hello@world.com", refuses, "hola@world.com", "nihao@world.com")
	return nil
}

// unordered takes results as they come: the slow mailbox, asked first, is the last to answer.
func (s *session) unordered(ctx context.Context) (failed error) {
	left := 3
	s.notifyAll(ctx, millhand.MapConfig{Unordered: true}, func(to, result string, err error) bool {
		s.show("unordered:", to, result, err)
		if left--; left == 0 {
			failed = s.release(ctx)
		}
		return failed == nil
	}, slow, "hola@world.com", "nihao@world.com", "aloha@world.com")
	return failed
}

// timeout bounds each mail: the slow mailbox never answers, and the mails behind it are sent.
func (s *session) timeout(ctx context.Context) error {
	s.notifyAll(ctx, millhand.MapConfig{Timeout: 2 * time.Second}, func(to, result string, err error) bool {
		s.show("timeout:", to, result, err)
		return true
	}, "hello@world.com", slow, "hola@world.com")
	return nil
}

// leave breaks off after the first result: what is in flight is cancelled, and the rest is not sent.
func (s *session) leave(ctx context.Context) error {
	before := s.mails.delivered()
	s.notifyAll(ctx, millhand.MapConfig{}, func(to, result string, err error) bool {
		s.show("left:", to, result, err)
		return false
	}, "hello@world.com", slow, slow, slow, "hola@world.com")
	s.say("           %d of 5 mails were sent", s.mails.delivered()-before)
	return nil
}
