package broker

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// probe reports whether the server could listen on the address. The server itself only
// says so in the text of a fatal log line, and only after it has read the whole store.
func probe(host string, port int) error {
	if port <= 0 {
		return nil
	}
	l, err := net.Listen("tcp", address(host, port)) //nolint:noctx // binding a socket does not block
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return inUse(host, port)
	case err != nil:
		return err
	default:
		return l.Close()
	}
}

// aside is how long an address is tried that nobody may listen on.
const aside = time.Second

// probeFromAside reports whether somebody listens on the address, for those who may not: if they did,
// be it for a moment, they would be in the way of the broker that has the store, and others would
// take them for it.
func probeFromAside(host string, port int) error {
	if port <= 0 {
		return nil
	}
	conn, err := net.DialTimeout("tcp", Reachable(address(host, port)), aside) //nolint:noctx // it has a timeout
	if err != nil {
		return nil //nolint:nilerr // nobody does
	}
	itself := conn.LocalAddr().String() == conn.RemoteAddr().String() // as a connection to a free port of this host can be
	if err := conn.Close(); err != nil || itself {
		return err
	}
	return inUse(host, port)
}

func inUse(host string, port int) error {
	return fmt.Errorf("%w: another server listens on %s; connect to it with --server, or choose another address with --listen",
		ErrAddressInUse, address(host, port))
}

// Loopback reports whether only this host can reach the address.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Reachable returns an address that answers on this host for one that a server listens on.
// They differ if the server listens on all addresses: nobody can connect to 0.0.0.0.
func Reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	switch ip := net.ParseIP(host); {
	case ip == nil || !ip.IsUnspecified():
		return address
	case ip.To4() != nil:
		return net.JoinHostPort("127.0.0.1", port)
	default:
		return net.JoinHostPort("::1", port)
	}
}
