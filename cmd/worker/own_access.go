package main

import (
	"github.com/spf13/pflag"

	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/cli"
)

// accessFlags say who may use the embedded broker.
type accessFlags struct {
	users  string
	cert   string
	key    string
	unsafe bool
}

func (f *accessFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.users, "auth-file", "", "`FILE` of the embedded broker's users, lines of name:role:bcrypt; docs/security.md has the roles")
	fs.StringVar(&f.cert, "listen-tls-cert", "", "certificate `FILE`: the embedded broker speaks TLS")
	fs.StringVar(&f.key, "listen-tls-key", "", "key `FILE` of that certificate")
	fs.BoolVar(&f.unsafe, "listen-unsafe", false, "let everybody who reaches --listen do everything, knowingly")
}

// read returns who may use a broker that listens on host. All that is wrong is found before anything starts.
func (f *accessFlags) read(fs *pflag.FlagSet, remote bool, given, host, namespace string) (a broker.Access, err error) {
	if err := cli.CheckNotEmpty(fs, "auth-file", "listen-tls-cert", "listen-tls-key"); err != nil {
		return a, err
	}
	if remote {
		for _, name := range []string{"auth-file", "listen-tls-cert", "listen-tls-key", "listen-unsafe"} {
			if fs.Changed(name) {
				return a, cli.Usagef("--%s is for the embedded broker; with a server given there is none (%s is set)", name, given)
			}
		}
		return a, nil
	}
	if f.users != "" {
		if err := a.ReadUsers(f.users, namespace); err != nil {
			return a, cli.Usagef("--auth-file: %w", err)
		}
	}
	if (f.cert == "") != (f.key == "") {
		return a, cli.Usagef("--listen-tls-cert and --listen-tls-key belong together: give both")
	}
	if f.cert != "" {
		if err := a.ReadCertificate(f.cert, f.key); err != nil {
			return a, cli.Usagef("--listen-tls-cert: %w", err)
		}
	}
	if !a.Guarded() && !f.unsafe && !broker.Loopback(host) {
		return a, cli.Usagef("--listen %s: other hosts could do everything with this broker: name its users with --auth-file FILE "+
			"(docs/security.md), or say --listen-unsafe if only hosts that you trust reach it", host)
	}
	return a, nil
}
