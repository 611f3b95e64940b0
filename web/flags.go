package web

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// What a server gives each request, for those who serve a [Handler]. Pages that are kept up to date go on
// for as long as somebody looks.
const (
	HeaderTimeout  = 5 * time.Second
	RequestTimeout = 10 * time.Second
	AnswerTimeout  = 30 * time.Second
	MaxHeader      = 16 << 10
)

// Flags are the flags of commands that serve a dashboard.
type Flags struct {
	Base, Origin      string
	Auth              []string // none, basic:FILE, token:FILE and proxy:USER[,GROUPS], which are headers
	Unsafe, ReadOnly  bool
	CertFile, KeyFile string
	Proxies           []string          // addresses and networks
	GroupRoles        map[string]string // roles by the group that a proxy tells; "all" is everybody

	Roles map[string][]Permission // those of a file, which the flags can name
}

// Register adds the flags.
func (f *Flags) Register(fs *pflag.FlagSet) {
	fs.StringVar(&f.Base, "web-base", "", "`PATH` below which a proxy has the dashboard, such as /ops/jobs")
	fs.StringArrayVar(&f.Auth, "web-auth", []string{"none"}, "who may look: `none` (this machine only), basic:FILE, token:FILE, or proxy:HEADER of --web-proxy that has the user, or proxy:HEADER,HEADER for groups, too; repeatable, then any of them will do")
	fs.StringSliceVar(&f.Proxies, "web-proxy", nil, "`ADDRESS` or network of a proxy that is believed who asks (--web-auth proxy) and from where (X-Forwarded-For); repeatable")
	fs.StringToStringVar(&f.GroupRoles, "web-role", nil, "`GROUP=ROLE` of those whom --web-auth proxy tells; all=ROLE for everybody; repeatable")
	fs.Lookup("web-role").DefValue = "" // not [], as pflag writes it
	fs.BoolVar(&f.Unsafe, "web-unsafe", false, "serve the dashboard without authentication to whoever reaches it, who may then do everything")
	fs.BoolVar(&f.ReadOnly, "web-read-only", false, "show, and leave nobody any operation")
	fs.StringVar(&f.Origin, "web-origin", "", "the public origin `URL`, if a proxy changes Host")
	fs.StringVar(&f.CertFile, "web-tls-cert", "", "certificate `FILE` for TLS on --http")
	fs.StringVar(&f.KeyFile, "web-tls-key", "", "key `FILE` of it")
}

// Options are what the flags say. It reads the files that they name.
func (f *Flags) Options() (Options, error) {
	o := Options{Base: f.Base, Unsafe: f.Unsafe, Origin: f.Origin, ReadOnly: f.ReadOnly, Proxies: f.Proxies, Roles: f.Roles}
	if err := CheckBase(f.Base); err != nil {
		return o, fmt.Errorf("--web-base %w", err)
	}
	if (f.CertFile == "") != (f.KeyFile == "") {
		return o, errors.New("--web-tls-cert and --web-tls-key go together")
	}
	var ways []func(*http.Request) (User, error)
	proxied := false
	for _, text := range f.Auth {
		kind, rest, _ := strings.Cut(text, ":")
		if (kind == "none" || kind == "") && len(f.Auth) == 1 {
			continue
		}
		way, err := f.way(kind, rest)
		if err != nil {
			return o, fmt.Errorf("--web-auth %s: %w", text, err)
		}
		ways = append(ways, way)
		proxied = proxied || kind == "proxy"
	}
	switch {
	case f.Unsafe && len(ways) > 0:
		return o, errors.New("--web-unsafe is for no authentication at all; leave it out beside --web-auth")
	case len(f.GroupRoles) > 0 && !proxied:
		return o, errors.New("--web-role is for --web-auth proxy, which is not given")
	case len(f.Proxies) > 0 && len(ways) == 0:
		return o, errors.New("--web-proxy is for --web-auth, which is not given")
	case len(ways) > 0:
		o.Auth = Any(ways...)
	}
	return o, nil
}

// way is one way to tell who asks.
func (f *Flags) way(kind, rest string) (func(*http.Request) (User, error), error) {
	switch {
	case rest == "":
	case kind == "basic":
		return Basic(rest)
	case kind == "token":
		return Token(rest)
	case kind == "proxy":
		return f.proxyWay(rest)
	}
	return nil, errors.New("want none alone, basic:FILE, token:FILE, proxy:HEADER or proxy:HEADER,HEADER")
}

func (f *Flags) proxyWay(headers string) (func(*http.Request) (User, error), error) {
	roles, err := rolesOf(f.Roles)
	if err != nil {
		return nil, err
	}
	for _, group := range sortedKeys(f.GroupRoles) {
		if role := f.GroupRoles[group]; roles[role] == nil {
			return nil, fmt.Errorf("%s=%s: there is no role %q, but %s", group, role, role, strings.Join(sortedKeys(roles), ", "))
		}
	}
	user, groups, _ := strings.Cut(headers, ",")
	switch {
	case len(f.Proxies) == 0:
		return nil, errors.New("which addresses may say who asks? Anybody could: give those of the proxy by --web-proxy")
	case len(f.GroupRoles) == 0:
		return nil, errors.New("what may they do? Give a role by --web-role, such as all=viewer")
	case groups == "" && (len(f.GroupRoles) > 1 || f.GroupRoles["all"] == ""):
		return nil, errors.New("which header has the groups that have roles? Want proxy:HEADER,HEADER")
	}
	return Proxy(ProxyConfig{User: user, Groups: groups, From: f.Proxies, Roles: f.GroupRoles})
}

// TLS reports whether the flags ask for it.
func (f *Flags) TLS() bool { return f.CertFile != "" }

// Serve serves what a listener accepts, with TLS if the flags ask for it.
func (f *Flags) Serve(s *http.Server, l net.Listener) error {
	if f.TLS() {
		return s.ServeTLS(l, f.CertFile, f.KeyFile)
	}
	return s.Serve(l)
}
