// Command enqueue puts jobs into Millhand's queues, one at a time or by the file, and
// waits for their outcome if asked to.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // of cron entries, on machines that have none
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the command: it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it; else a terminal that closes ends it in good order
		var hungUp context.CancelFunc
		ctx, hungUp = signal.NotifyContext(ctx, syscall.SIGHUP)
		defer hungUp()
	}
	signal.Ignore(syscall.SIGPIPE) // the reader of the ids may go away; what was enqueued is still told
	return execute(ctx, args, streams{in: stdin, out: stdout, err: stderr})
}
