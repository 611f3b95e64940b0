package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/millhand/millhand"
)

func TestConnectWithPassword(t *testing.T) {
	isolate(t, nil)
	srv := serve(t, &server.Options{Username: "me", Password: "secret"})

	mustConnect(t, "--server", srv.ClientURL(), "--user=me", "--password=secret")
	checkRefused(t, "Authorization Violation; check --creds", "--server", srv.ClientURL(), "--user=me", "--password=wrong")
	checkRefused(t, "Authorization Violation; check --creds", "--server", srv.ClientURL())
}

func TestConnectWithNKey(t *testing.T) {
	isolate(t, nil)
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	srv := serve(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}})

	mustConnect(t, "--server", srv.ClientURL(), "--nkey", file)
}

func TestConnectWithTLS(t *testing.T) {
	isolate(t, nil)
	pki := newPKI(t)
	srv := serve(t, &server.Options{TLSVerify: true, TLSConfig: &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pki.pair(t, pki.server)},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pki.pool,
	}})
	client := []string{"--server", srv.ClientURL(), "--tls-cert", pki.client + ".crt", "--tls-key", pki.client + ".key"}

	mustConnect(t, append(client, "--tls-ca", pki.ca)...)
	checkRefused(t, "check --tls-ca", client...) // the system does not know our authority
	checkRefused(t, "check --tls-ca", "--server", srv.ClientURL(), "--tls-ca", pki.ca)

	plain := serve(t, &server.Options{})
	checkRefused(t, "the server has no TLS", "--server", plain.ClientURL(), "--tls-ca", pki.ca)
}

func TestConnectFailsOnOneLineWithinFiveSeconds(t *testing.T) {
	isolate(t, nil)
	closed := listen(t)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	silent := listen(t) // accepts, in the kernel, and never says a word
	tests := map[string]struct{ server, want string }{
		"nothing there":        {"nats://" + closed.Addr().String(), "connection refused; nothing listens there; start a worker"},
		"no such host":         {"nats://no-such-host.invalid", "check --server"},
		"silent server":        {"nats://" + silent.Addr().String(), "no answer"},
		"several, all silent":  {"nats://" + silent.Addr().String() + ",nats://u:hunter2@" + silent.Addr().String(), "no answer"},
		"not on this network":  {"nats://192.0.2.1:4222", "connect to nats://192.0.2.1:4222: "}, // RFC 5737: for documentation
		"several, all missing": {"nats://" + closed.Addr().String() + "," + closed.Addr().String(), "nothing listens there"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			nc, err := Target{URL: tt.server}.Connect(t.Context())
			if err == nil {
				nc.Close()
				t.Fatal("connected")
			}
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			text := err.Error()
			if !strings.Contains(text, tt.want) || strings.ContainsAny(text, "\n") || strings.Contains(text, "hunter2") {
				t.Errorf("Connect = %q, want one line with %q", text, tt.want)
			}
		})
	}
}

// A caller with less time than that gets its error, which says what failed, within its own.
func TestConnectFailsBeforeADeadline(t *testing.T) {
	isolate(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	nc, err := Target{URL: "nats://" + listen(t).Addr().String()}.Connect(ctx)
	if err == nil {
		nc.Close()
		t.Fatal("connected")
	}
	if !strings.Contains(err.Error(), "no answer") || ctx.Err() != nil {
		t.Errorf("Connect = %v, and the context's end is %v; want an answer before that", err, ctx.Err())
	}
}

func TestConnectEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Target{URL: "nats://192.0.2.1"}).Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Connect = %v, want context.Canceled", err)
	}
}

// A worker may start before the server, and must outlive each of its absences; also while
// it drains, when its context has ended.
func TestWorkerWaitsForServer(t *testing.T) {
	l := listen(t)
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	log := newLogged()
	target := Target{URL: "nats://127.0.0.1:" + strconv.Itoa(port)}

	connected := make(chan *nats.Conn, 1)
	go func() {
		l := slog.New(slog.NewTextHandler(log, nil))
		nc, err := target.ConnectWorker(ctx, l, millhand.ConnectOptions(l)...)
		if err != nil {
			t.Error(err)
		}
		connected <- nc
	}()
	log.waitFor(ctx, t, "no server yet")
	srv := serve(t, &server.Options{Port: port})
	nc := <-connected
	if nc == nil {
		t.FailNow()
	}
	defer nc.Close()
	cancel()

	lost, back := nc.StatusChanged(nats.RECONNECTING), nc.StatusChanged(nats.CONNECTED)
	srv.Shutdown()
	srv.WaitForShutdown()
	<-lost
	if err := nc.Publish("x", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("Publish without a server = %v, want ErrReconnectBufExceeded", err)
	}
	serve(t, &server.Options{Port: port})
	<-back
}

func TestWorkerDoesNotWaitForOtherCredentials(t *testing.T) {
	srv := serve(t, &server.Options{Username: "me", Password: "secret"})
	_, err := Target{URL: srv.ClientURL()}.ConnectWorker(t.Context(), slog.New(slog.DiscardHandler))
	if !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("ConnectWorker = %v, want ErrAuthorization", err)
	}
}

func TestWorkerStopsWaitingWithContext(t *testing.T) {
	l := listen(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	log := newLogged()
	ended := make(chan error, 1)
	go func() {
		_, err := Target{URL: "nats://" + l.Addr().String()}.ConnectWorker(ctx, slog.New(slog.NewTextHandler(log, nil)))
		ended <- err
	}()
	log.waitFor(t.Context(), t, "no server yet")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ConnectWorker = %v, want context.Canceled", err)
	}
}

func mustConnect(t *testing.T, args ...string) {
	t.Helper()
	target, err := parse(t, args).Target()
	if err != nil {
		t.Fatal(err)
	}
	nc, err := target.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

// checkRefused wants a refusal that a worker does not sit out.
func checkRefused(t *testing.T, want string, args ...string) {
	t.Helper()
	target, err := parse(t, args).Target()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	discard := slog.New(slog.DiscardHandler)
	nc, err := target.ConnectWorker(ctx, discard, millhand.ConnectOptions(discard)...)
	if err == nil {
		nc.Close()
		t.Errorf("%q connects, want an error", args)
	} else if !strings.Contains(err.Error(), want) {
		t.Errorf("%q: %v, want %q", args, err, want)
	}
}

func serve(t *testing.T, opts *server.Options) *server.Server {
	t.Helper()
	opts.Host, opts.NoSigs, opts.NoLog = "127.0.0.1", true, true
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	return srv
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // some tests closed it
	return l
}

// logged is a log one can wait on.
type logged struct{ lines chan string }

func newLogged() *logged { return &logged{make(chan string, 1000)} } // more than any test logs

func (l *logged) Write(p []byte) (int, error) {
	l.lines <- string(bytes.TrimSpace(p))
	return len(p), nil
}

func (l *logged) waitFor(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	for {
		select {
		case line := <-l.lines:
			if strings.Contains(line, text) {
				return
			}
		case <-ctx.Done():
			t.Fatalf("nothing logged about %q", text)
		}
	}
}

// pki is an authority with a server's and a client's certificate, in files.
type pki struct {
	ca             string // file
	server, client string // files, without .crt and .key
	pool           *x509.CertPool
}

func newPKI(t *testing.T) pki {
	t.Helper()
	dir := t.TempDir()
	p := pki{
		ca:     filepath.Join(dir, "ca.crt"),
		server: filepath.Join(dir, "server"),
		client: filepath.Join(dir, "client"),
		pool:   x509.NewCertPool(),
	}
	caKey := newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	writePEM(t, p.ca, "CERTIFICATE", sign(t, ca, ca, &caKey.PublicKey, caKey))
	caPEM, err := os.ReadFile(p.ca)
	if err != nil {
		t.Fatal(err)
	}
	p.pool.AppendCertsFromPEM(caPEM)

	for i, name := range []string{p.server, p.client} {
		key := newKey(t)
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(int64(2 + i)), Subject: pkix.Name{CommonName: filepath.Base(name)},
			NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		writePEM(t, name+".crt", "CERTIFICATE", sign(t, cert, ca, &key.PublicKey, caKey))
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		writePEM(t, name+".key", "PRIVATE KEY", der)
	}
	return p
}

func (pki) pair(t *testing.T, name string) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(name+".crt", name+".key")
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, cert, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
