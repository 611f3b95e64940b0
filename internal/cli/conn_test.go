package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"
)

// connection is what a test can see of a target.
type connection struct {
	URL, User, Password, Token, InboxPrefix, Domain string
	Remote, TLSFirst                                bool
}

func TestTargetPrecedence(t *testing.T) {
	const (
		prod    = `{"url": "nats://prod:4222", "user": "ctx", "password": "ctx-secret"}`
		private = `{"url": "tls://private:4222", "token": "tok", "inbox_prefix": "_INBOX_p", "tls_first": true}`
	)
	tests := map[string]struct {
		args []string
		env  map[string]string
		want connection
	}{
		"nothing given": {
			want: connection{URL: "nats://127.0.0.1:4222"},
		},
		"server by flag": {
			args: []string{"-s", "nats://a:1,b:2"},
			want: connection{URL: "nats://a:1,b:2", Remote: true},
		},
		"server by environment": {
			env:  map[string]string{"NATS_URL": "nats://env"},
			want: connection{URL: "nats://env", Remote: true},
		},
		"flag over environment over context": {
			args: []string{"--server=nats://flag", "--context=prod"},
			env:  map[string]string{"NATS_URL": "nats://env"},
			want: connection{URL: "nats://flag", User: "ctx", Password: "ctx-secret", Remote: true},
		},
		"environment over context": {
			args: []string{"--context=prod"},
			env:  map[string]string{"NATS_URL": "nats://env"},
			want: connection{URL: "nats://env", User: "ctx", Password: "ctx-secret", Remote: true},
		},
		"context by flag over context by environment": {
			args: []string{"--context=private"},
			env:  map[string]string{"NATS_CONTEXT": "prod"},
			want: connection{URL: "tls://private:4222", Token: "tok", InboxPrefix: "_INBOX_p", TLSFirst: true, Remote: true},
		},
		"password of the environment for the user of a flag": {
			args: []string{"--user=me"},
			env:  map[string]string{"NATS_PASSWORD": "secret"},
			want: connection{URL: nats.DefaultURL, User: "me", Password: "secret", Remote: true},
		},
		"user of a flag replaces the token of a context": {
			args: []string{"--context=private", "--user=me", "--password=secret"},
			want: connection{
				URL: "tls://private:4222", User: "me", Password: "secret",
				InboxPrefix: "_INBOX_p", TLSFirst: true, Remote: true,
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			isolate(t, tt.env)
			writeContext(t, "prod", prod)
			writeContext(t, "private", private)
			if err := os.WriteFile(filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "nats", "context.txt"), []byte("prod"), 0o600); err != nil {
				t.Fatal(err) // the nats CLI's selection, which must not matter
			}

			target, err := parse(t, tt.args).Target()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, visible(t, target)); diff != "" {
				t.Errorf("target (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTargetErrorsNameTheirSource(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want string // beginning of the error
	}{
		{"scheme", []string{"--server=http://x"}, nil, "--server: the URL must begin with"},
		{"URL with a password", []string{"--server=nats://u:hunter2@ho st"}, nil, "--server: invalid character"},
		{"no host", nil, map[string]string{"NATS_URL": "nats://"}, "NATS_URL: the URL has no host"},
		{"missing creds", []string{"--creds", missing}, nil, "--creds: nats: open "},
		{"no creds", nil, map[string]string{"NATS_CREDS": garbage}, "NATS_CREDS: "},
		{"no nkey", []string{"--nkey", garbage}, nil, "--nkey: "},
		{"missing CA", []string{"--tls-ca", missing}, nil, "--tls-ca: "},
		{"no certificate", []string{"--tls-cert", garbage, "--tls-key", garbage}, nil, "--tls-cert: "},
		{"key missing", []string{"--tls-cert", garbage}, nil, "--tls-cert needs a key: --tls-key"},
		{"certificate missing", nil, map[string]string{"NATS_KEY": garbage}, "NATS_KEY needs a certificate: --tls-cert"},
		{"two kinds", []string{"--user=u", "--creds", missing}, nil, "--creds and --user are two kinds of credentials"},
		{"two kinds in a context", []string{"--context=both"}, nil, `context "both" has two kinds of credentials`},
		{"password alone", []string{"--password=p"}, nil, "--password needs a user"},
		{"unknown context", []string{"--context=nope"}, nil, `--context: no context "nope": `},
		{"context elsewhere", nil, map[string]string{"NATS_CONTEXT": "../x"}, `NATS_CONTEXT: invalid context name "../x"`},
		{"broken context", []string{"--context=broken"}, nil, `--context: context "broken": `},
		{"unsupported context", []string{"--context=socks"}, nil, `--context: context "socks": socks_proxy is not supported`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			isolate(t, tt.env)
			writeContext(t, "both", `{"user": "u", "creds": "c"}`)
			writeContext(t, "broken", `{`)
			writeContext(t, "socks", `{"socks_proxy": "socks5://x"}`)

			_, err := parse(t, tt.args).Target()
			exit, ok := errors.AsType[*ExitError](err)
			if !ok || exit.Code != ExitUsage || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("Target() = %v, want usage error %q…", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Target() = %q shows a password", err)
			}
		})
	}
}

func TestContextPathsAreExpanded(t *testing.T) {
	isolate(t, map[string]string{"CREDS_DIR": "/etc/creds"})
	t.Setenv("HOME", "/home/x")
	file := writeContext(t, "paths", `{"creds": "$CREDS_DIR/a.creds", "nkey": "~/n.nk", "ca": "/abs/ca.pem"}`)
	for _, name := range []string{"paths", file} {
		c, err := loadContext(name)
		if err != nil {
			t.Fatal(err)
		}
		want := [3]string{"/etc/creds/a.creds", "/home/x/n.nk", "/abs/ca.pem"}
		if got := [3]string{c.Creds, c.NKey, c.CA}; got != want {
			t.Errorf("loadContext(%q): paths %q, want %q", name, got, want)
		}
	}
}

// isolate gives the test an environment without NATS settings but env.
func isolate(t *testing.T, env map[string]string) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "NATS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for name, v := range env {
		t.Setenv(name, v)
	}
}

func writeContext(t *testing.T, name, content string) string {
	t.Helper()
	dir := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name+".json")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func parse(t *testing.T, args []string) *ConnFlags {
	t.Helper()
	var f ConnFlags
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &f
}

func visible(t *testing.T, target Target) connection {
	t.Helper()
	var o nats.Options
	for _, apply := range target.options {
		if err := apply(&o); err != nil {
			t.Fatal(err)
		}
	}
	return connection{
		URL: target.URL, Domain: target.Domain, Remote: target.Remote,
		User: o.User, Password: o.Password, Token: o.Token, InboxPrefix: o.InboxPrefix,
		TLSFirst: o.TLSHandshakeFirst,
	}
}
