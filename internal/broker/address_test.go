package broker

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

func TestAnyFreePort(t *testing.T) {
	for _, port := range []int{0, -1} {
		b := start(t, Config{Store: t.TempDir(), Port: port})
		nc, err := nats.Connect(b.ClientURL())
		if err != nil {
			t.Errorf("port %d: connect to %s: %v", port, b.ClientURL(), err)
			continue
		}
		if got := nc.MaxPayload(); got != PayloadLimit+HeaderRoom {
			t.Errorf("MaxPayload = %d, want %d", got, PayloadLimit+HeaderRoom)
		}
		nc.Close()
	}
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	store := t.TempDir()

	_, err = Start(Config{Store: store, Port: port})
	if !errors.Is(err, ErrAddressInUse) || errors.Is(err, ErrStoreLocked) {
		t.Errorf("Start = %v, want ErrAddressInUse only", err)
	}
	if !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Start = %q, does not name %s", err, l.Addr())
	}

	start(t, Config{Store: store}) // the attempt left no lock behind
	_, err = Start(Config{Store: store, Port: port})
	if !errors.Is(err, ErrAddressInUse) || !errors.Is(err, ErrStoreLocked) {
		t.Errorf("Start = %v, want both ErrStoreLocked and ErrAddressInUse", err)
	}
}

func TestPortLostAfterProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	b := &Broker{
		cfg: Config{Store: t.TempDir(), Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port},
		log: slog.New(slog.DiscardHandler),
	}
	if err := b.serve(); !errors.Is(err, ErrAddressInUse) {
		t.Errorf("serve = %v, want ErrAddressInUse", err)
	}
}

func TestClientURLAnswers(t *testing.T) {
	for _, host := range []string{"", "0.0.0.0", "::"} {
		b := start(t, Config{Store: t.TempDir(), Host: host, Port: -1})
		nc, err := nats.Connect(b.ClientURL())
		if err != nil {
			t.Errorf("host %q: %s: %v", host, b.ClientURL(), err)
			continue
		}
		nc.Close()
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"0.0.0.0:4222":    "127.0.0.1:4222",
		"[::]:4222":       "[::1]:4222",
		"127.0.0.1:4222":  "127.0.0.1:4222",
		"10.1.2.3:4222":   "10.1.2.3:4222",
		"[fe80::1]:4222":  "[fe80::1]:4222",
		"nats.example:80": "nats.example:80",
		"nonsense":        "nonsense",
	} {
		if got := Reachable(address); got != want {
			t.Errorf("Reachable(%s) = %s, want %s", address, got, want)
		}
	}
}
