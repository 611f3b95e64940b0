// Package clitest is what the scripts that test the commands have in common. It is for tests
// only.
package clitest

import (
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millhand/millhand/internal/broker"
)

// patience is how long a script waits for what must come.
const patience = time.Minute

// Setup gives a script a broker of its own, which ends with it. DEAD_URL is where nothing
// listens.
func Setup(env *testscript.Env) (*broker.Broker, error) {
	b, err := broker.Start(broker.Config{Store: filepath.Join(env.WorkDir, ".store"), Port: -1})
	if err != nil {
		return nil, err
	}
	env.Defer(b.Shutdown)
	dead, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // binding a socket does not block
	if err != nil {
		return nil, err
	}
	env.Setenv("DEAD_URL", "nats://"+dead.Addr().String())
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else each run of the race detector ends with a second of sleep
	return b, dead.Close()
}

// Exits is a command of scripts: exits CODE [within DURATION] PROGRAM ARGS... runs a program
// that ends with that code.
func Exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	within := patience
	if args[0] == "within" {
		within, err = time.ParseDuration(args[1])
		ts.Check(err)
		args = args[2:]
	}
	start := time.Now()
	err = ts.Exec(args[0], args[1:]...)
	took := time.Since(start)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	if took > within {
		ts.Fatalf("took %v, want at most %v", took, within)
	}
}

// Secured is a command of scripts: secured starts a server and sets SECURED_URL. It lets in
// user miller with password grist, who may do everything, and user boxed with password chaff,
// who receives answers below _INBOX_boxed only.
func Secured(ts *testscript.TestScript, _ bool, _ []string) {
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: ts.MkAbs(".secured"),
		Users: []*server.User{
			{Username: "miller", Password: "grist"},
			{Username: "boxed", Password: "chaff", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{">"}},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_boxed.>", "millhand.>"}},
			}},
		},
	})
	ts.Check(err)
	srv.Start()
	ts.Defer(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(patience) {
		ts.Fatalf("server not ready")
	}
	ts.Setenv("SECURED_URL", srv.ClientURL())
}
