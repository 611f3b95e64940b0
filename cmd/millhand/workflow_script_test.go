package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/clitest"
)

// repeated FILE [N TEXT]... writes each text N times, in which %d is the number of the time. With env:NAME in place of
// the file it sets a variable.
func repeated(ts *testscript.TestScript, _ bool, args []string) {
	var b strings.Builder
	for rest := args[1:]; len(rest) > 1; rest = rest[2:] {
		n, err := strconv.Atoi(rest[0])
		ts.Check(err)
		for i := range n {
			b.WriteString(strings.ReplaceAll(rest[1], "%d", strconv.Itoa(i)))
		}
	}
	if name, ok := strings.CutPrefix(args[0], "env:"); ok {
		ts.Setenv(name, b.String())
		return
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

// requests FILE PROGRAM ARGS... runs a program, and writes how many requests it had for the broker, if nobody else has any.
func requests(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect(ts.Getenv("NATS_URL"))
	ts.Check(err)
	defer nc.Close()
	seen, err := nc.SubscribeSync("$JS.API.>")
	ts.Check(err)
	ts.Check(nc.Flush())
	_ = ts.Exec(args[1], args[2:]...) // it may fail
	ts.Check(nc.Flush())
	n, _, err := seen.Pending()
	ts.Check(err)
	if n == 0 {
		ts.Fatalf("there is no request")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strconv.Itoa(n)), 0o600))
}

// workflows N starts N workflows that wait.
func workflows(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	c := clitest.Client(ts)
	for i := range n {
		w := millhand.NewWorkflow("waits", millhand.WorkflowConfig{ID: fmt.Sprint("other-", i)})
		w.Signal("go")
		_, err := c.Start(context.Background(), w)
		ts.Check(err)
	}
}
