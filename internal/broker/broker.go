package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// PayloadLimit is the largest payload a job may have, in bytes.
	PayloadLimit = 1 << 20
	// HeaderRoom is what the broker accepts above [PayloadLimit], in bytes. The server's
	// limit covers headers too, and a job gains some on its way: the successor of a job
	// that was accepted at the limit must never be refused for the headers of its retry. And
	// a result of that size is larger in its event, where bytes stand as base64.
	HeaderRoom = 1 << 20
)

// A dead client (its host gone, its process stopped) closes no connection; the server finds
// out by unanswered pings, and until then delivers jobs into the void, each lost for a
// whole lease. The server closes on the ping after the second unanswered one, so within
// 3 × 2 s = 6 s: well inside the 30 s lease, and long enough for a garbage collection or a
// short network stall. The server's own default would be 6 minutes.
const (
	pingInterval = 2 * time.Second
	maxPingsOut  = 2
)

const (
	serverName     = "millhand" // fixed: by default each start draws a random one
	readyTimeout   = 10 * time.Second
	healthInterval = time.Second

	// stopWithin is how long a server may take to bring what it stores to its disk.
	stopWithin = time.Minute
)

var (
	// ErrStoreLocked means that another process, or another [Broker] of this one, runs on
	// the same store directory.
	ErrStoreLocked = errors.New("store in use")
	// ErrAddressInUse means that something else listens on the address: often another
	// worker's broker, to which this worker can then connect.
	ErrAddressInUse = errors.New("address in use")

	// ErrStuck means that the server cannot be stopped: nats-server (2.15.2) may wait for a lock that it
	// holds itself after a write failed. Only the end of the process helps.
	ErrStuck = errors.New("the broker cannot be stopped")

	errStopped     = errors.New("broker stopped by itself")
	errNoJetStream = errors.New("broker turned JetStream off by itself: out of disk space, or the store is damaged")
	errNoWrites    = errors.New("broker gave up on a stream's store after a failed write")
)

// Config says where a broker keeps its data and listens.
type Config struct {
	Store  string       // directory of the streams, made if missing; required
	Host   string       // address to listen on; empty: 127.0.0.1
	Port   int          // 0 or -1: any free port, see [Broker.ClientURL]
	Logger *slog.Logger // nil: nothing is logged
	Access Access       // who may do what; the zero value lets everybody in
}

// Broker is a running nats-server and the lock on its store. Run and Shutdown are for its
// one owner; the other methods may be called from any goroutine.
type Broker struct {
	cfg  Config // Invariant: after Start, Port is the one in use.
	log  *slog.Logger
	lock *os.File

	srv      atomic.Pointer[server.Server] // the one started last, running or not
	text     atomic.Pointer[serverLog]     // its log
	disk     disk                          // what the store is on
	shutdown sync.Once
	closed   atomic.Bool // Shutdown was called

	opts  *server.Options // that the server was started with
	users version         // of their file, as they are known
}

// Start locks the store, starts the server and returns when it accepts connections.
// The errors a caller can act on are [ErrStoreLocked] and [ErrAddressInUse]; when both
// hold, as for a second worker with the same settings, the error is both.
func Start(cfg Config) (*Broker, error) {
	if cfg.Store == "" {
		return nil, errors.New("start broker: no store directory")
	}
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	b := &Broker{cfg: cfg, log: cfg.Logger}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.disk = disk{dir: cfg.Store, log: b.log}

	lock, lockErr := lockStore(cfg.Store)
	look := probe
	if lockErr != nil {
		look = probeFromAside
	}
	addrErr := look(cfg.Host, cfg.Port)
	if err := errors.Join(lockErr, addrErr); err != nil {
		if lock != nil {
			_ = lock.Close() // nothing was written to it that could be lost
		}
		if lockErr != nil && addrErr != nil {
			return nil, fmt.Errorf("start broker: %w; %w", lockErr, addrErr)
		}
		return nil, fmt.Errorf("start broker: %w", err)
	}
	b.lock = lock

	if err := b.serve(); err != nil {
		_ = b.lock.Close() // as above
		return nil, fmt.Errorf("start broker: %w", err)
	}
	if !Loopback(cfg.Host) && !cfg.Access.Guarded() {
		b.log.Warn("the broker has no authentication and other hosts can reach it: let only hosts that you trust do so",
			slog.String("address", address(b.cfg.Host, b.cfg.Port)))
	}
	return b, nil
}

// Run watches the server until ctx is done, then calls Shutdown and returns nil. It returns
// an error when the server stopped by itself, or stopped storing and could store again if it
// were restarted: while its disk is full it goes on, so that what can be read is read, and that
// it knows at its stop which worker has which job. The broker keeps its store and port then, and Run
// may be called again, as a supervisor does: it restarts the server, and in-process
// connections come back by themselves. After [ErrStuck] that is of no use.
func (b *Broker) Run(ctx context.Context) error {
	if b.closed.Load() {
		return errors.New("run broker: it was shut down")
	}
	if b.health() != nil {
		if err := stop(b.srv.Load()); err != nil {
			return err
		}
		if err := b.serve(); err != nil {
			return fmt.Errorf("restart broker: %w", err)
		}
	}
	return b.watch(ctx)
}

// Shutdown stops the server, waits until all it stored is on disk, and gives the store
// free. Later calls do nothing.
func (b *Broker) Shutdown() {
	b.shutdown.Do(func() {
		b.closed.Store(true)
		if b.health() == nil {
			clients := b.ForeignClients()
			if clients > 0 {
				b.log.Warn("the broker stops with this worker, and others are connected to it", slog.Int("count", clients))
			}
			b.takeLastStock(clients)
		}
		if err := stop(b.srv.Load()); err != nil {
			b.log.Error("the broker did not stop: the process ends without it", slog.String("store", b.cfg.Store), slog.Any("err", err))
			return // the store stays locked for as long as the server may write to it
		}
		if err := b.lock.Close(); err != nil {
			b.log.Warn("store not unlocked", slog.String("store", b.cfg.Store), slog.Any("err", err))
		}
	})
}

// ClientURL is where clients on this host reach the broker.
func (b *Broker) ClientURL() string {
	scheme := "nats://"
	if b.cfg.Access.tls != nil {
		scheme = "tls://"
	}
	return scheme + Reachable(address(b.cfg.Host, b.cfg.Port))
}

// InProcessConn returns a connection that uses no socket: to the server started last, so
// that a client with [github.com/nats-io/nats.go.InProcessServer] survives its restart.
func (b *Broker) InProcessConn() (net.Conn, error) {
	return b.srv.Load().InProcessConn()
}

// ForeignClients counts the connections that came over the network: those for whom the
// queues end with this broker. A worker's own are in-process.
func (b *Broker) ForeignClients() int {
	srv := b.srv.Load()
	conns, err := srv.Connz(&server.ConnzOptions{Limit: srv.NumClients() + 1}) // the default is 1,024
	if err != nil {
		return 0 // only the sort option can be wrong, and there is none
	}
	n := 0
	for _, c := range conns.Conns {
		if c.IP != "" { // a pipe has no address
			n++
		}
	}
	return n
}

func (b *Broker) watch(ctx context.Context) error {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	stock := time.NewTicker(ledgerEvery)
	defer stock.Stop()
	for {
		select {
		case <-ctx.Done():
			b.Shutdown()
			return nil
		case <-stock.C:
			if b.health() == nil {
				b.takeStock()
			}
		case now := <-tick.C:
			err := b.health()
			if err == nil {
				b.reload()
			}
			if err != nil && (errors.Is(err, errStopped) || b.disk.takesWrites(ctx, now)) {
				return err
			}
		}
	}
}

// Err returns why the broker stores nothing at the moment, nil if it does.
func (b *Broker) Err() error {
	err := b.health()
	if err == nil {
		return nil
	}
	return cmp.Or(b.disk.failure(), err)
}

// health reports why the broker no longer does its work, or nil. The server keeps the first
// failed write of a stream and answers nothing it is to store there until it is restarted,
// though it runs on and has JetStream: of that it tells its log only.
func (b *Broker) health() error {
	switch srv := b.srv.Load(); {
	case !srv.Running():
		return errStopped
	case !srv.JetStreamEnabled():
		return errNoJetStream
	}
	if text, failed := b.text.Load().failedWrite(); failed {
		return fmt.Errorf("%w: %s", errNoWrites, text)
	}
	return nil
}

// serve starts a server; it returns when the server is ready or has failed for good.
func (b *Broker) serve() error {
	port := b.cfg.Port
	if port == 0 {
		port = server.RANDOM_PORT // to the server, 0 means 4222
	}
	opts := &server.Options{
		ServerName:             serverName,
		Host:                   b.cfg.Host,
		Port:                   port,
		NoSigs:                 true, // signals are the worker's
		JetStream:              true,
		StoreDir:               b.cfg.Store,
		DisableJetStreamBanner: true,
		MaxPayload:             PayloadLimit + HeaderRoom,
		PingInterval:           pingInterval,
		MaxPingsOut:            maxPingsOut,
		// SyncInterval stays at the server's two minutes: the page cache outlives the
		// process, so only a crash of the host can cost what was not yet synced.
	}
	b.cfg.Access.apply(opts)
	b.opts, b.users = opts.Clone(), versionOf(b.cfg.Access.file)
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	log := &serverLog{log: b.log}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start() // returns when the listener is open, or after the server's Fatalf
	if err := log.fatal(); err != nil {
		// The probe in Start can lose a race for the port, and Run does not probe.
		return errors.Join(err, stop(srv), probe(b.cfg.Host, b.cfg.Port))
	}
	if !srv.ReadyForConnections(readyTimeout) {
		return errors.Join(fmt.Errorf("not ready within %s", readyTimeout), stop(srv))
	}
	if a, ok := srv.Addr().(*net.TCPAddr); ok && port == server.RANDOM_PORT {
		b.cfg.Port = a.Port
	}
	b.compare(srv)
	if err := b.setAside(srv); err != nil {
		b.log.Warn("cannot look for damaged consumers", slog.String("store", b.cfg.Store), slog.Any("err", err))
	}
	b.text.Store(log)
	b.srv.Store(srv)
	b.takeStock() // that of the last stop is not exact any more, even if we are killed at once
	b.log.Info("broker started", slog.String("url", b.ClientURL()), slog.String("store", b.cfg.Store))
	return nil
}

// stopper is what a server is to those who stop it.
type stopper interface {
	Shutdown()
	WaitForShutdown()
}

// stop returns when the server has stopped and all it stored is on disk, or [ErrStuck] if it does not.
func stop(srv stopper) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	late := time.NewTimer(stopWithin)
	defer late.Stop()
	select {
	case <-stopped:
		return nil
	case <-late.C:
		return fmt.Errorf("%w within %v", ErrStuck, stopWithin)
	}
}

// DefaultStore is the store of a broker nobody configured: millhand below the user's data
// directory of the XDG Base Directory Specification.
func DefaultStore() (string, error) {
	dir := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(dir) { // the specification: a relative path is to be ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("default store: %w", err)
		}
		dir = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(dir, "millhand"), nil
}

func address(host string, port int) string {
	return net.JoinHostPort(host, strconv.Itoa(port))
}
