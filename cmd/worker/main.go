// Command worker runs jobs: it pulls them from Millhand's queues and hands them to
// commands, URLs or the built-in types, with a broker of its own unless it is told of one.
package main

import (
	"context"
	"io"
	"os"
	_ "time/tzdata" // of cron entries, on machines that have none

	"github.com/millhand/millhand/internal/gc"
	"github.com/millhand/millhand/internal/minder"
)

func main() {
	if minder.Main() {
		return
	}
	signals := notify()
	gc.Tune()
	os.Exit(run(os.Args[1:], signals, os.Stdout, os.Stderr))
}

// run is the command: it returns the exit code.
func run(args []string, signals <-chan os.Signal, stdout, stderr io.Writer) int {
	return execute(context.Background(), args, signals, stdout, stderr, addBuiltin)
}
