package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/cli"
)

// A question is asked before what cannot be undone.
type question struct{ yes bool }

func (q *question) register(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&q.yes, "yes", "y", false, "do not ask; needed where nobody can be asked, without a terminal")
}

// typed is from how many jobs on their number has to be typed: a y is too easily given.
const typed = 100

var errDeclined = errors.New("nothing was done")

// ask returns nil if what is to be done with n jobs may be done. What is asked ends in no mark.
func (q *question) ask(ctx context.Context, a *app, n int, what string) error {
	if q.yes {
		return nil
	}
	in, ok := a.in.(io.Writer) // as files are, and so terminals
	if !ok || !cli.IsTerminal(in) || !cli.IsTerminal(a.err) {
		return cli.Usagef("%s: without a terminal to ask on, --yes says so", what)
	}
	want, how := "y", "y or n"
	if n > typed {
		want, how = strconv.Itoa(n), "type "+strconv.Itoa(n)+" to go on"
	}
	if _, err := fmt.Fprintf(a.err, "%s? (%s) ", cli.OneLine(what), how); err != nil {
		return err
	}
	answers := cli.Interruptible(ctx, a.in)
	defer func() { _ = answers.Close() }() // only read
	answer, err := bufio.NewReader(answers).ReadString('\n')
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("read the answer: %w", err)
	case strings.ToLower(strings.TrimSpace(answer)) != want:
		return errDeclined
	}
	return nil
}
