// Command millhand shows what Millhand's queues, jobs and workers do, and changes it. It talks to the
// broker alone, so it works when all workers are down.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // of cron entries, on machines that have none

	"github.com/spf13/cobra"
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
	cobra.EnableCommandSorting = false // the table has an order
	return execute(ctx, args, streams{in: stdin, out: stdout, err: stderr})
}

// outlivePipes has a write to a pipe that nobody reads fail, which else ends the process: what is under way, such
// as a pause, is to be ended by this process.
func outlivePipes() { signal.Ignore(syscall.SIGPIPE) }
