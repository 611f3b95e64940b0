package broker

import (
	"errors"
	"fmt"
	"net"
	"syscall"
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
		return fmt.Errorf("%w: another server listens on %s; connect to it with --server, or choose another address with --listen",
			ErrAddressInUse, address(host, port))
	case err != nil:
		return err
	default:
		return l.Close()
	}
}

// loopback reports whether only this host can reach the address.
func loopback(host string) bool {
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
