package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ProxyConfig says how a proxy tells who asks.
type ProxyConfig struct {
	User   string            // header with the name, such as X-Forwarded-User
	Groups string            // header with the groups, by commas or spaces; empty: there is none
	From   []string          // addresses and networks that the proxy asks from; others are refused
	Roles  map[string]string // roles by group; "all" is everybody. Of several groups the first in the header counts
}

// Proxy returns an [Options.Auth] that believes a proxy, and nobody else.
func Proxy(cfg ProxyConfig) (func(*http.Request) (User, error), error) {
	if cfg.User == "" || len(cfg.From) == 0 {
		return nil, errors.New("web: a proxy needs the header with the user, and the addresses that it asks from")
	}
	from, err := parseNetworks(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("web: proxy: from: %w", err)
	}
	return func(r *http.Request) (User, error) {
		if !isFrom(from, r.RemoteAddr) {
			return User{}, &problem{status: http.StatusForbidden, title: "This is reached through a proxy", text: "Requests are taken from the proxy only, and this one came from " + clientOf(r) + ".", hint: "Ask who runs this dashboard for its address."}
		}
		name := r.Header.Get(cfg.User)
		if name == "" {
			return User{}, &problem{status: http.StatusForbidden, title: "The proxy does not say who you are", text: "The header " + cfg.User + " is missing."}
		}
		for _, header := range []string{cfg.User, cfg.Groups} {
			if len(r.Header.Values(header)) > 1 { // one of them may be the browser's
				return User{}, &problem{status: http.StatusForbidden, title: "The proxy does not say who you are", text: "The header " + header + " came more than once.", hint: "The proxy is to replace what it is sent, and not to add to it."}
			}
		}
		return User{Name: name, Role: cfg.roleOf(r.Header.Get(cfg.Groups))}, nil
	}, nil
}

func (cfg *ProxyConfig) roleOf(groups string) string {
	for group := range strings.FieldsFuncSeq(groups, func(r rune) bool { return r == ',' || r == ' ' }) {
		if role := cfg.Roles[group]; role != "" {
			return role
		}
	}
	return cfg.Roles["all"]
}

// parseNetworks reads addresses and networks.
func parseNetworks(texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return nil, fmt.Errorf("%q: want an address or a network such as 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		all = append(all, p)
	}
	return all, nil
}

// isFrom reports whether the other end of a connection is in one of the networks.
func isFrom(networks []netip.Prefix, address string) bool {
	addr, err := netip.ParseAddrPort(address)
	return err == nil && among(networks, addr.Addr())
}

func among(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr.Unmap().WithZone("")) })
}

// clientKey is the key of the address that a request comes from, where a proxy that is believed says so.
type clientKey struct{}

// forwarded notes where a request comes from, if it came through proxies that are believed: the last address
// that none of them has. Whoever is beyond it could have written the rest.
func (h *Handler) forwarded(r *http.Request) *http.Request {
	if !isFrom(h.proxies, r.RemoteAddr) {
		return r
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	var client netip.Addr
	for _, hop := range slices.Backward(hops) {
		addr, err := hopOf(hop)
		if err != nil {
			break
		}
		if client = addr; !among(h.proxies, addr) {
			break
		}
	}
	if !client.IsValid() {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), clientKey{}, client.String()))
}

// hopOf reads an address, with a port or without.
func hopOf(text string) (netip.Addr, error) {
	text = strings.TrimSpace(text)
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap(), nil
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return addr.Unmap(), err
}

// clientOf is the machine that a request came from.
func clientOf(r *http.Request) string {
	if from, ok := r.Context().Value(clientKey{}).(string); ok {
		return from
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
