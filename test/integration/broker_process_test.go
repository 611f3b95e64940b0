package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

// brokerEnv makes the test binary a broker; it holds the [brokerArgs].
const brokerEnv = "MILLHAND_TEST_BROKER"

// brokerArgs say what a broker process serves. A port of -1 is any that is free.
type brokerArgs struct {
	Store       string
	Port        int
	Name        string // of a node of a cluster; empty: a broker of its own
	ClusterPort int
	Routes      []string
	Verbose     bool // its log has all that the server says; not of a node
}

// brokerAddress is what a broker process prints once it is ready.
type brokerAddress struct {
	URL   string
	Route string // of a node of a cluster
}

// A brokerProcess is a broker that can be stopped, killed and started again on the same
// store and port.
type brokerProcess struct {
	*process
	brokerArgs
	brokerAddress
}

func startBroker(t *testing.T) *brokerProcess {
	t.Helper()
	b := &brokerProcess{brokerArgs: brokerArgs{Store: t.TempDir(), Port: -1}}
	b.start(t)
	return b
}

// startCluster starts a cluster of three, and calls meanwhile when two of them are there.
func startCluster(t *testing.T, meanwhile func(url string)) []*brokerProcess {
	t.Helper()
	var nodes []*brokerProcess
	routes := []string{"nats://127.0.0.1:9"} // nobody's: a node wants a route to be one, and the first knows none
	for _, name := range []string{"a", "b", "c"} {
		if len(nodes) == 2 {
			meanwhile(urls(nodes))
		}
		b := &brokerProcess{brokerArgs: brokerArgs{Store: t.TempDir(), Port: -1, Name: name, ClusterPort: -1, Routes: routes}}
		b.start(t)
		nodes, routes = append(nodes, b), append(slices.Clone(routes), b.Route)
	}
	for _, b := range nodes {
		b.Routes = routes // for a restart
	}
	return nodes
}

func urls(nodes []*brokerProcess) string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.URL)
	}
	return strings.Join(all, ",")
}

// start starts it, again at the address that it had.
func (b *brokerProcess) start(t *testing.T) {
	t.Helper()
	args, err := json.Marshal(b.brokerArgs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{brokerEnv + "=" + string(args)}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.process = launch(t, "broker", cmd)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &b.brokerAddress)
	}
	if err != nil {
		t.Fatalf("broker did not start: %v", err)
	}
	b.Port, b.ClusterPort = port(t, b.URL), port(t, b.Route)
}

func port(t *testing.T, address string) int {
	t.Helper()
	var n int
	u, err := url.Parse(address)
	if err == nil && address != "" {
		_, err = fmt.Sscan(u.Port(), &n)
	}
	if err != nil {
		t.Fatalf("port of %q: %v", address, err)
	}
	return n
}

// stop ends it in order.
func (b *brokerProcess) stop(t *testing.T) {
	t.Helper()
	b.signal(t, syscall.SIGTERM)
	if code := b.wait(t); code != 0 {
		t.Errorf("broker ended with %d", code)
	}
}

// wipe makes it forget all it stored.
func (b *brokerProcess) wipe(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(b.Store); err != nil {
		t.Fatal(err)
	}
}

// connect returns a connection of the test's own, which outlives the broker's.
func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := dial(url, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// dial connects to a broker that may be about to be killed, or has no processor time to answer.
func dial(url string, options ...nats.Option) (*nats.Conn, error) {
	for began := time.Now(); ; {
		nc, err := nats.Connect(url, append(slices.Clone(options), nats.Timeout(10*time.Second))...)
		if err == nil || time.Since(began) > patience {
			return nc, err
		}
		<-time.After(100 * time.Millisecond)
	}
}

func newClient(t *testing.T, url string) *millhand.Client {
	t.Helper()
	c, err := millhand.NewClient(connect(t, url), millhand.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serveBroker is the broker's process.
func serveBroker(text string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	var args brokerArgs
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		panic(err)
	}
	serve := serveOne
	if args.Name != "" {
		serve = serveNode
	}
	address, stop, err := serve(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(address); err != nil {
		panic(err)
	}
	<-signals
	stop()
}

// serveOne serves what a worker embeds.
func serveOne(args brokerArgs) (brokerAddress, func(), error) {
	level := slog.LevelInfo
	if args.Verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	start := func() (*broker.Broker, error) {
		return broker.Start(broker.Config{Store: args.Store, Port: args.Port, Logger: log})
	}
	b, err := start()
	// Somebody's outgoing connection may have been given our port meanwhile.
	for end := time.Now().Add(patience); errors.Is(err, broker.ErrAddressInUse) && time.Now().Before(end); {
		b, err = start()
	}
	if err != nil {
		return brokerAddress{}, nil, err
	}
	return brokerAddress{URL: b.ClientURL()}, b.Shutdown, nil
}

// serveNode serves a node of a cluster, as an operator would run nats-server.
func serveNode(args brokerArgs) (brokerAddress, func(), error) {
	opts := &server.Options{
		ServerName: args.Name, Host: "127.0.0.1", Port: args.Port, NoSigs: true,
		JetStream: true, StoreDir: args.Store, MaxPayload: broker.PayloadLimit + broker.HeaderRoom,
		Cluster: server.ClusterOpts{Name: "mill", Host: "127.0.0.1", Port: args.ClusterPort},
		Routes:  server.RoutesFromStr(strings.Join(args.Routes, ",")),
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return brokerAddress{}, nil, err
	}
	srv.ConfigureLogger()
	srv.Start()
	// The first node is not ready before it has peers.
	if !srv.ReadyForConnections(patience) {
		return brokerAddress{}, nil, io.ErrNoProgress
	}
	return brokerAddress{URL: srv.ClientURL(), Route: "nats://" + srv.ClusterAddr().String()},
		func() { srv.Shutdown(); srv.WaitForShutdown() }, nil
}
