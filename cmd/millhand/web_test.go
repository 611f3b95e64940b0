package main

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/millhand/millhand/web"
)

// Whoever serves the dashboard beyond this machine, and asks nobody who they are, is told that it is not.
func TestWhoIsServed(t *testing.T) {
	t.Parallel()
	known := func(*http.Request) (web.User, error) { return web.User{}, nil }
	for name, c := range map[string]struct {
		ip   net.IP
		opts web.Options
		want string
	}{
		"loopback":       {net.IPv4(127, 0, 0, 1), web.Options{}, ""},
		"any address":    {net.IPv4zero, web.Options{}, "only this machine is served"},
		"any, of IPv6":   {net.IPv6zero, web.Options{ReadOnly: true}, "only this machine is served"},
		"who they are":   {net.IPv4zero, web.Options{Auth: known}, ""},
		"all, knowingly": {net.IPv4zero, web.Options{Unsafe: true}, ""},
	} {
		if got := servedNote(&net.TCPAddr{IP: c.ip}, &c.opts); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
