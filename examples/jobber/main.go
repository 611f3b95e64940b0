// Command jobber is the job runner of "Concurrent Data Processing in Elixir", built on a queue. Good jobs succeed, bad
// ones are retried until their retries are used up, doomed ones panic, and at most five imports run at once.
//
// The book counts all running jobs and then starts one. So it refuses an e-mail because of imports, and lets in a sixth
// import when many are started at once. Here the quota belongs to the type and holds across all workers: if sixty
// imports are started at once, five get in.
//
// Everything runs in this process, with a broker in a temporary directory. The two commands can do the same:
//
//	worker --exec import='sleep 5' --exec send_email='sleep 5' --quota import=5
//	for i in 1 2 3 4 5 6; do enqueue import --reject-at-quota; done      # the sixth exits 4
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "jobber:", err)
		os.Exit(1)
	}
}

// run starts a broker and two workers, and plays the book's session.
func run(ctx context.Context, out io.Writer) (err error) {
	b, stopBroker, err := broker.StartTemporary("jobber", broker.Config{})
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
	letGo := make(chan struct{})
	working, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var ends [2]error
	for i := range ends {
		w, err := newWorker(nc, letGo) //nolint:contextcheck // it outlives the call
		if err != nil {
			stop()
			return err
		}
		wg.Go(func() { ends[i] = w.Run(working) })
	}
	defer func() {
		stop()
		wg.Wait()
		err = errors.Join(err, ends[0], ends[1])
	}()
	// A worker sets the quota when it starts. Until then no job is refused.
	if err := client.SetQuota(ctx, millhand.Quota{Type: Import{}.Type(), Limit: maxImports}); err != nil {
		return err
	}
	return session(ctx, out, &jobber{client: client, letGo: letGo})
}

// session is what the book types into the shell.
func session(ctx context.Context, out io.Writer, j *jobber) error {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) } // to look at
	for _, step := range []func(context.Context, func(string, ...any), *jobber) error{kinds, race, full} {
		if err := step(ctx, say, j); err != nil {
			return err
		}
	}
	return nil
}

// kinds starts a job of each kind.
func kinds(ctx context.Context, say func(string, ...any), j *jobber) error {
	for _, work := range []string{good, bad, doomed} {
		ref, err := j.StartJob(ctx, Email{Work: work}, millhand.WithID(work))
		if err != nil {
			return err
		}
		outcome, err := j.awaitAll(ctx, ref)
		if err != nil {
			return err
		}
		say("%-6s job: %s", work, outcome[0])
	}
	return nil
}

// race starts sixty imports at once.
func race(ctx context.Context, say func(string, ...any), j *jobber) error {
	started, refused, err := j.startJobs(ctx, 60, Import{Work: long})
	if err != nil {
		return err
	}
	say("60 imports at once: %d started, %d refused", len(started), refused)
	outcomes, err := j.end(ctx, started...)
	say("which ended as: %s", outcomes)
	return err
}

// full starts one import too many, and another one after an import has ended.
func full(ctx context.Context, say func(string, ...any), j *jobber) error {
	var refs []millhand.Ref
	for range maxImports {
		ref, err := j.startWhenFree(ctx, Import{Work: long})
		if err != nil {
			return err
		}
		refs = append(refs, ref)
	}
	if err := j.allRun(ctx, maxImports); err != nil {
		return err
	}
	_, err := j.StartJob(ctx, Import{Work: long})
	say("import 6: %v", err)
	email, err := j.StartJob(ctx, Email{Work: good})
	if err != nil {
		return err
	}
	outcome, err := j.awaitAll(ctx, email)
	if err != nil {
		return err
	}
	say("an e-mail meanwhile: %s", outcome[0])
	j.letGo <- struct{}{}
	ref, err := j.startWhenFree(ctx, Import{Work: good})
	if err != nil {
		return err
	}
	outcome, err = j.awaitAll(ctx, ref)
	if err != nil {
		return err
	}
	say("an import after one has ended: %s", outcome[0])
	_, err = j.end(ctx, refs[1:]...)
	return err
}
