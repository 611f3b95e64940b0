// Package clitest is what the scripts that test the commands have in common. It is for tests
// only.
package clitest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

// patience is how long a script waits for what must come.
const patience = time.Minute

// A Script says how the scripts of a command are run.
type Script struct {
	URL   string                          // the variable that has the address of a script's own broker
	Setup func(env *testscript.Env) error // what else a script needs; nil: nothing
	Cmds  map[string]func(ts *testscript.TestScript, neg bool, args []string)
}

// urlKey is under which an environment has the name of the variable with the broker's address.
type urlKey struct{}

// Run runs the scripts in testdata, each with a broker of its own, which ends with it. DEAD_URL is where
// nothing listens. They have [Exits] and [Secured] besides their own commands.
func Run(t *testing.T, s Script) {
	t.Helper()
	cmds := map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": Exits, "secured": Secured}
	maps.Copy(cmds, s.Cmds)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			if err := serve(env, s.URL); err != nil || s.Setup == nil {
				return err
			}
			return s.Setup(env)
		},
		Cmds: cmds, RequireExplicitExec: true, RequireUniqueNames: true,
	})
}

func serve(env *testscript.Env, variable string) error {
	b, err := broker.Start(broker.Config{Store: filepath.Join(env.WorkDir, ".store"), Port: -1})
	if err != nil {
		return err
	}
	env.Defer(b.Shutdown)
	dead, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // binding a socket does not block
	if err != nil {
		return err
	}
	env.Setenv("DEAD_URL", "nats://"+dead.Addr().String())
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else each run of the race detector ends with a second of sleep
	env.Setenv(variable, b.ClientURL())
	env.Values[urlKey{}] = variable
	return dead.Close()
}

// connect connects to the broker of a script, until that ends.
func connect(ts *testscript.TestScript) *nats.Conn {
	variable, _ := ts.Value(urlKey{}).(string)
	nc, err := nats.Connect(ts.Getenv(variable), millhand.ConnectOptions(slog.New(slog.DiscardHandler))...)
	ts.Check(err)
	ts.Defer(nc.Close)
	return nc
}

// Client returns a client of a script's broker, until the script ends.
func Client(ts *testscript.TestScript) *millhand.Client {
	client, err := millhand.NewClient(connect(ts), millhand.Config{Logger: slog.New(slog.DiscardHandler)})
	ts.Check(err)
	return client
}

// Work runs a worker until it is stopped or the script ends. It hands back what runs then.
func Work(ts *testscript.TestScript, cfg millhand.WorkerConfig) (stop func()) {
	log := new(bytes.Buffer)
	cfg.Logger, cfg.DrainTimeout = slog.New(slog.NewTextHandler(log, nil)), -1
	w, err := millhand.NewWorker(connect(ts), cfg)
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { err = w.Run(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err != nil && !errors.Is(err, millhand.ErrDrainTimeout) {
			ts.Logf("worker: %v\n%s", err, log)
		}
	})
	ts.Defer(stop)
	return stop
}

// QueuesOf are queues by their names, for a worker.
func QueuesOf(names []string) (queues []millhand.Queue) {
	for _, name := range names {
		queues = append(queues, millhand.Queue{Name: name})
	}
	return queues
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
