package cli

import (
	"errors"
	"fmt"
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

	keyToken = "token" // known to contexts only
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
		f.values[name] = fs.StringP(name, short, "", usage+" (env "+envName(name)+")")
	}
	add(flagServer, "s", "`URL` of the NATS server, or several with commas")
	add(flagContext, "", "`NAME` of a nats CLI context")
	add(flagCreds, "", "credentials `FILE`")
	add(flagNKey, "", "nkey seed `FILE`")
	add(flagUser, "", "user `NAME`")
	add(flagPassword, "", "the user's `PASSWORD`; others on this machine can see a flag, so better by environment")
	add(flagTLSCA, "", "`FILE` of the certificate authority of the server")
	add(flagTLSCert, "", "client certificate `FILE`")
	add(flagTLSKey, "", "client key `FILE`")
	fs.StringVar(&f.Namespace, "namespace", "millhand", "`NAME` that keeps installations on one server apart")
	fs.Var(&f.MaxBytes, "max-bytes", "`SIZE` limit of each stream that is made, where an account demands one; a queue that reaches it loses its oldest jobs")
}

// Target resolves flags, environment and context. Its errors are usage errors that name
// the flag or variable at fault; files have been read once, so a typo ends the command
// rather than the first reconnect.
func (f *ConnFlags) Target() (Target, error) {
	if err := CheckNotEmpty(f.flags, flagServer, flagContext, "namespace"); err != nil {
		return Target{}, err
	}
	s := sources{f.flag, env}
	t := Target{Remote: slices.ContainsFunc(s, source.givesAny)}
	if name := s.first(flagContext); name.text != "" {
		nctx, err := loadContext(name.text)
		if err != nil {
			return Target{}, Usagef("%s: %w", name.source, err)
		}
		s = append(s, nctx.get)
		if nctx.TLSFirst {
			t.options = append(t.options, nats.TLSHandshakeFirst())
		}
		if nctx.InboxPrefix != "" {
			t.options = append(t.options, nats.CustomInboxPrefix(nctx.InboxPrefix))
		}
	}
	t.URL = nats.DefaultURL
	if server := s.first(flagServer); server.text != "" {
		if err := checkURL(server.text); err != nil {
			return Target{}, Usagef("%s: %w", server.source, err)
		}
		t.URL = server.text
	}
	for _, part := range []func(sources) (option, error){login, authority, certificate} {
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
	return t, nil
}

// CheckNotEmpty returns a usage error for the first of the named flags that is given and
// empty: a variable of a script that is not set, most likely, and then its default would be
// another server or other jobs than was meant.
func CheckNotEmpty(fs *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if f := fs.Lookup(name); f != nil && f.Changed && f.Value.String() == "" {
			return Usagef("--%s is given and empty: leave it away, or set the variable that it is taken from", name)
		}
	}
	return nil
}

func (f *ConnFlags) flag(name string) value {
	if v, ok := f.values[name]; ok {
		return value{*v, "--" + name}
	}
	return value{}
}

func env(flag string) value {
	name := envName(flag)
	if name == "" {
		return value{}
	}
	return value{os.Getenv(name), name}
}

// envName is the nats CLI's variable for what one of our flags sets.
func envName(flag string) string {
	switch flag {
	case flagServer:
		return "NATS_URL"
	case flagContext, flagCreds, flagNKey, flagUser, flagPassword:
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
type value struct{ text, source string }

// source has values for some of the connection flags.
type source func(flag string) value

func (s source) givesAny() bool {
	return slices.ContainsFunc([]string{
		flagServer, flagContext, flagCreds, flagNKey, flagUser, flagPassword, flagTLSCA, flagTLSCert, flagTLSKey,
	}, func(flag string) bool { return s(flag).text != "" })
}

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

// option is a nats.go option and where it comes from.
type option struct {
	apply  nats.Option // nil: nothing to set
	source string
}

// try applies the option to nothing, which reads its files.
func (o option) try() error {
	var scratch nats.Options
	if err := o.apply(&scratch); err != nil {
		return err
	}
	if scratch.UserJWT != nil { // credentials are otherwise read at connect
		if _, err := scratch.UserJWT(); err != nil {
			return err
		}
		_, err := scratch.SignatureCB([]byte("nonce"))
		return err
	}
	return nil
}

// login is who we are. The first source that names a user of any kind decides alone: a
// --creds must not be overruled by the user of a context. Only a password may come from
// elsewhere, since it should not stand on a command line.
func login(s sources) (option, error) {
	for _, get := range s {
		var found []value
		var kind string
		for _, k := range []string{flagCreds, flagNKey, flagUser, keyToken} {
			if v := get(k); v.text != "" {
				found, kind = append(found, v), k
			}
		}
		switch {
		case len(found) > 1 && found[0].source == found[1].source:
			return option{}, Usagef("%s has two kinds of credentials", found[0].source)
		case len(found) > 1:
			return option{}, Usagef("%s and %s are two kinds of credentials; use one", found[0].source, found[1].source)
		case len(found) == 1:
			return loginAs(kind, found[0], s.first(flagPassword)), nil
		}
	}
	if p := s.first(flagPassword); p.text != "" {
		return option{}, Usagef("%s needs a user", p.source)
	}
	return option{}, nil
}

func loginAs(kind string, v, password value) option {
	o := option{source: v.source}
	switch kind {
	case flagCreds:
		o.apply = nats.UserCredentials(v.text)
	case flagNKey:
		o.apply = func(opts *nats.Options) error {
			nkey, err := nats.NkeyOptionFromSeed(v.text)
			if err != nil {
				return err
			}
			return nkey(opts)
		}
	case flagUser:
		o.apply = nats.UserInfo(v.text, password.text)
	case keyToken:
		o.apply = nats.Token(v.text)
	}
	return o
}

func authority(s sources) (option, error) {
	if ca := s.first(flagTLSCA); ca.text != "" {
		return option{nats.RootCAs(ca.text), ca.source}, nil
	}
	return option{}, nil
}

// certificate and key belong together, so they come from the same source.
func certificate(s sources) (option, error) {
	for _, get := range s {
		cert, key := get(flagTLSCert), get(flagTLSKey)
		switch {
		case cert.text == "" && key.text == "":
			continue
		case key.text == "":
			return option{}, Usagef("%s needs a key: --%s", cert.source, flagTLSKey)
		case cert.text == "":
			return option{}, Usagef("%s needs a certificate: --%s", key.source, flagTLSCert)
		}
		return option{nats.ClientCert(cert.text, key.text), cert.source}, nil
	}
	return option{}, nil
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
