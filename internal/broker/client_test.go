package broker

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestForeignClients(t *testing.T) {
	b := start(t, Config{Store: t.TempDir()})
	jetStream(t, b) // in-process
	if got := b.ForeignClients(); got != 0 {
		t.Errorf("ForeignClients = %d, want 0", got)
	}
	nc, err := nats.Connect(b.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := b.ForeignClients(); got != 1 {
		t.Errorf("ForeignClients = %d, want 1", got)
	}
}

// A stopped process answers no ping, but its connection stays open.
func TestSilentClientIsClosedWithinLease(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the 6 s it measures")
	}
	b := start(t, Config{Store: t.TempDir()})
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.ClientURL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("CONNECT {\"verbose\":false}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	const lease = 30 * time.Second
	if err := conn.SetReadDeadline(time.Now().Add(lease / 2)); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(conn) // until the server closes
	if err != nil || !strings.Contains(string(out), "Stale Connection") {
		t.Errorf("the server said %q, %v; want it to close a stale connection", out, err)
	}
}

func TestOpenDoorIsLogged(t *testing.T) {
	for host, want := range map[string]bool{"": false, "127.0.0.1": false, "localhost": false, "0.0.0.0": true} {
		var log bytes.Buffer
		start(t, Config{Store: t.TempDir(), Host: host, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if got := strings.Contains(log.String(), "level=WARN"); got != want {
			t.Errorf("host %q: warned = %t, want %t; log: %s", host, got, want, log.String())
		}
	}
}
