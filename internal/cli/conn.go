package cli

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"
)

const (
	flagServer   = "server"
	flagContext  = "context"
	flagCreds    = "creds"
	flagNKey     = "nkey"
	flagUser     = "user"
	flagPassword = "password"
	flagTLSCA    = "tls-ca"
	flagTLSCert  = "tls-cert"
	flagTLSKey   = "tls-key"
	flagInbox    = "inbox-prefix"
	flagDomain   = "js-domain"

	keyToken = "token" // known to the environment and to contexts
)

// ConnFlags are the flags that say which NATS server to use, and as whom. What is not
// given by flag is taken from the environment variables of the nats CLI, then from the
// context that --context or NATS_CONTEXT names. The context selected in the nats CLI does
// not count: what a worker connects to must not depend on what somebody looked at last.
type ConnFlags struct {
	Namespace string // first token of every subject, and prefix of every stream
	MaxBytes  Bytes  // of each stream that is made; 0: no limit

	values map[string]*string // by flag name
	flags  *pflag.FlagSet     // those of the command
}

// Register adds the flags to fs.
func (f *ConnFlags) Register(fs *pflag.FlagSet) {
	f.values, f.flags = make(map[string]*string), fs
	add := func(name, short, usage string) {
		if env := envName(name); env != "" {
			usage += " (env " + env + ")"
		}
		f.values[name] = fs.StringP(name, short, "", usage)
	}
	add(flagServer, "s", "`URL` of the NATS server, or several with commas")
	add(flagContext, "", "`NAME` of a nats CLI context")
	add(flagCreds, "", "credentials `FILE`")
	add(flagNKey, "", "nkey seed `FILE`")
	add(flagUser, "", "user `NAME`; a token, if no password is given")
	add(flagPassword, "", "the user's `PASSWORD`; others on this machine can see a flag, so better by environment")
	add(flagTLSCA, "", "`FILE` of the certificate authority of the server")
	add(flagTLSCert, "", "client certificate `FILE`")
	add(flagTLSKey, "", "client key `FILE`")
	add(flagInbox, "", "`PREFIX` of inboxes, for a user who may subscribe to no others (default _INBOX)")
	add(flagDomain, "", "`NAME` of the JetStream domain that holds the streams, where the server is a leaf node of another one")
	fs.StringVar(&f.Namespace, "namespace", "millhand", "`NAME` that keeps installations on one server apart")
	fs.Var(&f.MaxBytes, "max-bytes", "`SIZE` limit of each stream that is made, where an account demands one; a queue that reaches it loses its oldest jobs")
}

// VisitGiven calls visit with the flags that were given, for a process that is to connect likewise.
func (f *ConnFlags) VisitGiven(visit func(name, value string)) {
	f.flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed {
			visit(flag.Name, flag.Value.String())
		}
	})
}

// Target resolves flags, environment and context. Its errors are usage errors that name
// the flag or variable at fault; files have been read once, so a typo ends the command
// rather than the first reconnect.
func (f *ConnFlags) Target() (Target, error) {
	if err := CheckNotEmpty(f.flags, flagServer, flagContext, "namespace"); err != nil {
		return Target{}, err
	}
	s := sources{f.flag, env}
	for _, name := range []string{"NATS_SOCKS_PROXY", "NATS_JWT", "NATS_SEED"} {
		if os.Getenv(name) != "" {
			return Target{}, Usagef("%s is not supported; unset it to connect without", name)
		}
	}
	given := s.firstOf(
		flagServer, flagContext, flagCreds, flagNKey, flagUser, flagPassword, keyToken, flagTLSCA, flagTLSCert, flagTLSKey, flagDomain,
	)
	t := Target{Remote: given.text != "", Given: given.source}
	if name := s.first(flagContext); name.text != "" {
		nctx, err := loadContext(name.text)
		if err != nil {
			return Target{}, Usagef("%s: %w", name.source, err)
		}
		s = append(s, nctx.get)
		if nctx.TLSFirst {
			t.options = append(t.options, nats.TLSHandshakeFirst())
		}
	}
	t.URL = nats.DefaultURL
	if server := s.first(flagServer); server.text != "" {
		if err := checkURL(server.text); err != nil {
			return Target{}, Usagef("%s: %w", server.source, err)
		}
		t.URL = server.text
	}
	for _, part := range []func(sources) (option, error){login, authority, certificate, inbox} {
		o, err := part(s)
		if err != nil {
			return Target{}, err
		}
		if o.apply == nil {
			continue
		}
		if err := o.try(); err != nil {
			return Target{}, Usagef("%s: %w", o.source, err)
		}
		t.options = append(t.options, o.apply)
	}
	t.Domain = s.first(flagDomain).text
	return t, CheckNotEmpty(f.flags, slices.Sorted(maps.Keys(f.values))...)
}

// CheckNotEmpty returns a usage error for the first of the named flags that is given and
// empty: a variable of a script that is not set, most likely, and then its default would be
// another server or other jobs than was meant.
func CheckNotEmpty(fs *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if f := fs.Lookup(name); f != nil && f.Changed && f.Value.String() == "" {
			return Usagef("--%s is given and empty: leave it out, or set the variable that it is taken from", name)
		}
	}
	return nil
}

func (f *ConnFlags) flag(name string) value {
	if v, ok := f.values[name]; ok {
		return value{text: *v, source: "--" + name}
	}
	return value{}
}

func env(flag string) value {
	name := envName(flag)
	if name == "" {
		return value{}
	}
	return value{text: os.Getenv(name), source: name}
}

// envName is the nats CLI's variable for what one of our flags sets.
func envName(flag string) string {
	switch flag {
	case flagServer:
		return "NATS_URL"
	case flagContext, flagCreds, flagNKey, flagUser, flagPassword, keyToken:
		return "NATS_" + strings.ToUpper(flag)
	case flagTLSCA:
		return "NATS_CA"
	case flagTLSCert:
		return "NATS_CERT"
	case flagTLSKey:
		return "NATS_KEY"
	default:
		return ""
	}
}

// value is a setting, and what to call it in an error.
type value struct {
	text, source string
	context      bool // it is a context's
}

// source has values for some of the connection flags.
type source func(flag string) value

// sources are asked in order: the first that has a value decides.
type sources []source

func (s sources) first(flag string) value {
	for _, get := range s {
		if v := get(flag); v.text != "" {
			return v
		}
	}
	return value{}
}

// firstOf returns the value of the first of the flags that has one.
func (s sources) firstOf(flags ...string) value {
	for _, name := range flags {
		if v := s.first(name); v.text != "" {
			return v
		}
	}
	return value{}
}

// checkURL is stricter than nats.go, which takes an unknown scheme for nats. Its errors
// quote nothing: any part of what cannot be parsed may be a part of a password.
func checkURL(servers string) error {
	for server := range strings.SplitSeq(servers, ",") {
		if err := checkServer(strings.TrimSpace(server)); err != nil {
			if strings.Contains(servers, "@") && !errors.Is(err, errEncode) {
				return fmt.Errorf("%w; %w", err, errEncode)
			}
			return err
		}
	}
	return nil
}

var errEncode = errors.New("in a user, password or token write / as %2F, ? as %3F, # as %23, , as %2C, @ as %40 and % as %25")

func checkServer(server string) error {
	scheme, rest, ok := strings.Cut(server, "://")
	if !ok {
		scheme, rest = "nats", server
	}
	if !slices.Contains([]string{"nats", "tls", "ws", "wss"}, strings.ToLower(scheme)) {
		not := ""
		if slices.Contains([]string{"http", "https", "tcp", "ssl", "mqtt"}, strings.ToLower(scheme)) { // others may be half a password
			not = ", not " + scheme + "://"
		}
		return errors.New("the URL must begin with nats://, tls://, ws:// or wss://" + not)
	}
	user, host := "", rest
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, host = rest[:at], rest[at+1:]
	}
	if strings.ContainsAny(user, "/?#") {
		return errEncode
	}
	u, err := url.Parse("nats://" + host)
	switch {
	case err != nil && strings.Contains(err.Error(), "invalid port"):
		return errors.New("invalid port: want a number")
	case err != nil, strings.ContainsFunc(u.Hostname(), isStrange):
		return errors.New("invalid character in the host")
	case u.Hostname() == "":
		return errors.New("the URL has no host")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("invalid port: want a number from 1 to 65535")
		}
	}
	if _, err := url.Parse("nats://" + rest); err != nil {
		return errEncode
	}
	return nil
}
