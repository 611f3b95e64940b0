package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if role, ok := os.LookupEnv(roleEnv); ok {
		err = playRole(ctx, role, os.Stdin, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	names   []string // of the works to run; empty: all
	jobs    int      // of a typical work
	million int      // of the works about a large backlog
	rounds  int
	quick   bool
	json    bool
	profile string // directory for CPU profiles; empty: none
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(progress)
	names := f.String("run", "", "comma-separated `names` of works; default all")
	list := f.Bool("list", false, "list the works")
	f.IntVar(&o.jobs, "n", 100_000, "jobs of a typical work")
	f.IntVar(&o.million, "million", 1_000_000, "jobs that wait where a large backlog is the subject")
	f.IntVar(&o.rounds, "rounds", 3, "rounds, each with every contestant")
	f.BoolVar(&o.quick, "quick", false, "few jobs, one round: checks the bench, measures little")
	f.BoolVar(&o.json, "json", false, "print JSON")
	soak := f.Bool("soak", false, "run a mixed load for a long time instead, and watch memory and goroutines")
	length := f.Duration("for", 20*time.Minute, "length of the soak")
	f.StringVar(&o.profile, "cpuprofile", "", "`directory` for the CPU profile of each process")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *soak {
		return runSoak(ctx, o, *length, out)
	}
	if o.quick {
		o.jobs, o.million, o.rounds = min(o.jobs, 5_000), min(o.million, 20_000), 1
	}
	if *names != "" {
		o.names = strings.Split(*names, ",")
	}
	works, err := choose(works(o), o.names)
	if err != nil {
		return err
	}
	if *list {
		return listWorks(out, works)
	}
	report, err := measure(ctx, o, works, progress)
	if o.json {
		return errors.Join(err, report.writeJSON(out))
	}
	return errors.Join(err, report.writeMarkdown(out))
}

func listWorks(out io.Writer, works []work) error {
	for _, w := range works {
		if _, err := fmt.Fprintf(out, "%-10s %s\n", w.name, w.about); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the works with the given names, in the order of all.
func choose(all []work, names []string) ([]work, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []work
	for _, w := range all {
		if slices.Contains(names, w.name) {
			chosen = append(chosen, w)
		}
	}
	for _, n := range names {
		if !slices.ContainsFunc(all, func(w work) bool { return w.name == n }) {
			return nil, fmt.Errorf("no work is named %q: see -list", n)
		}
	}
	return chosen, nil
}
