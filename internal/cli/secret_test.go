package cli

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

func TestWhatTheNATSCommandKnows(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := "data:;base64," + base64.StdEncoding.EncodeToString([]byte("from-data"))
	tests := map[string]struct {
		context string // if any
		args    []string
		env     map[string]string
		want    connection
	}{
		"a token by environment":         {env: map[string]string{"NATS_TOKEN": "tok"}, want: connection{Token: "tok"}},
		"a user alone is a token":        {env: map[string]string{"NATS_USER": "tok"}, want: connection{Token: "tok"}},
		"a user alone, by flag":          {args: []string{"--user=tok"}, want: connection{Token: "tok"}},
		"user, password and token":       {env: map[string]string{"NATS_USER": "u", "NATS_PASSWORD": "p", "NATS_TOKEN": "tok"}, want: connection{User: "u", Password: "p", Token: "tok"}},
		"token and user of a context":    {context: `{"user":"u","password":"p","token":"tok"}`, want: connection{User: "u", Password: "p", Token: "tok"}},
		"a context's user alone":         {context: `{"user":"u"}`, want: connection{User: "u"}},
		"token of a variable":            {context: `{"token":"env://MH_TOKEN"}`, env: map[string]string{"MH_TOKEN": "from-env"}, want: connection{Token: "from-env"}},
		"token of a file":                {context: `{"token":"file://` + file + `"}`, want: connection{Token: "from-file"}},
		"token of data":                  {context: `{"token":"` + data + `"}`, want: connection{Token: "from-data"}},
		"password of a variable":         {context: `{"user":"u","password":"ENV://MH_TOKEN"}`, env: map[string]string{"MH_TOKEN": "from-env"}, want: connection{User: "u", Password: "from-env"}},
		"password of the environment":    {env: map[string]string{"NATS_USER": "u", "NATS_PASSWORD": "file://" + file}, want: connection{User: "u", Password: "from-file"}},
		"an inbox prefix":                {args: []string{"--inbox-prefix=_INBOX_me"}, want: connection{InboxPrefix: "_INBOX_me"}},
		"a domain":                       {args: []string{"--js-domain=hub"}, want: connection{Domain: "hub"}},
		"a domain of a context":          {context: `{"jetstream_domain":"hub"}`, want: connection{Domain: "hub"}},
		"a domain over a context":        {args: []string{"--js-domain=other"}, context: `{"jetstream_domain":"hub"}`, want: connection{Domain: "other"}},
		"an inbox prefix over a context": {args: []string{"--inbox-prefix=_INBOX_me"}, context: `{"inbox_prefix":"_INBOX_c"}`, want: connection{InboxPrefix: "_INBOX_me"}},
		"a byte order mark":              {context: "\xef\xbb\xbf" + `{"token":"tok"}`, want: connection{Token: "tok"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			isolate(t, tt.env)
			if tt.context != "" {
				writeContext(t, "c", tt.context)
				tt.args = append(tt.args, "--context=c")
			}
			target, err := parse(t, tt.args).Target()
			if err != nil {
				t.Fatal(err)
			}
			got := visible(t, target)
			tt.want.URL, tt.want.Remote = nats.DefaultURL, got.Remote
			if got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestKeysByReference(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "user.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{file, "file://" + file, "$MH_DIR/user.nk", "data:;base64," + base64.StdEncoding.EncodeToString(seed), "env://MH_SEED"} {
		isolate(t, map[string]string{"MH_DIR": dir, "MH_SEED": string(seed)})
		writeContext(t, "c", `{"nkey":"`+ref+`"}`)
		target, err := parse(t, []string{"--context=c"}).Target()
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		var o nats.Options
		for _, apply := range target.options {
			if err := apply(&o); err != nil {
				t.Fatal(err)
			}
		}
		if public, err := pair.PublicKey(); err != nil || o.Nkey != public {
			t.Errorf("%s: nkey %q, want %q, %v", ref, o.Nkey, public, err)
		}
	}

	for name, args := range map[string][]string{
		"nkey": {"--nkey", string(seed)}, "creds": {"--creds", "-----BEGIN NATS USER JWT-----" + string(seed)},
		"key": {"--tls-cert=c.pem", "--tls-key", "-----BEGIN PRIVATE KEY-----\n" + string(seed)}, "ca": {"--tls-ca", "-----BEGIN CERTIFICATE-----\n" + string(seed)},
	} {
		_, err := parse(t, args).Target()
		if err == nil || strings.Contains(err.Error(), string(seed)) || !strings.Contains(err.Error(), "want a FILE; this is the secret itself") {
			t.Errorf("%s by value: %v", name, err)
		}
	}
}

func TestWhatIsRefusedByName(t *testing.T) {
	for _, tt := range []struct {
		name, context string
		args          []string
		env           map[string]string
		want          string
	}{
		{name: "op", context: `{"token":"op://vault/item"}`, want: `context "c": token: op:// references are not supported`},
		{name: "nsc", context: `{"creds":"nsc://op/acc/user"}`, want: `context "c": nsc:// references are not supported`},
		{name: "op for a password", context: `{"user":"u","password":"OP://vault/item"}`, want: `context "c": password: op:// references`},
		{name: "a variable that is not there", context: `{"token":"env://MH_NONE"}`, want: `context "c": token: the environment has no MH_NONE`},
		{name: "data that is none", context: `{"token":"data:s3cret"}`, want: `context "c": token: want data:;base64,CONTENT`},
		{name: "data that is not base64", context: `{"token":"data:;base64,s3cret!"}`, want: `context "c": token: what follows data:;base64, is not base64`},
		{name: "data for a certificate", context: `{"ca":"data:;base64,AAAA"}`, want: `context "c": data: references are not supported here`},
		{name: "proxy", env: map[string]string{"NATS_SOCKS_PROXY": "socks5://u:s3cret@p"}, want: "NATS_SOCKS_PROXY is not supported"},
		{name: "jwt", env: map[string]string{"NATS_JWT": "s3cret"}, want: "NATS_JWT is not supported"},
		{name: "a number", context: `{"password":53234}`, want: `context "c": `},
		{name: "empty server", args: []string{"--server="}, want: "--server is given and empty"},
		{name: "empty context", args: []string{"--context", ""}, want: "--context is given and empty"},
		{name: "empty namespace", args: []string{"--namespace="}, want: "--namespace is given and empty"},
		{name: "empty password", args: []string{"--user=u", "--password="}, want: "--password is given and empty"},
		{name: "empty prefix", args: []string{"--inbox-prefix="}, want: "--inbox-prefix is given and empty"},
		{name: "empty domain", args: []string{"--js-domain="}, want: "--js-domain is given and empty"},
		{name: "wild prefix", args: []string{"--inbox-prefix=a.>"}, want: "--inbox-prefix: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			isolate(t, tt.env)
			if tt.context != "" {
				writeContext(t, "c", tt.context)
				tt.args = append(tt.args, "--context=c")
			}
			_, err := parse(t, tt.args).Target()
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) && !strings.HasPrefix(err.Error(), "--context: "+tt.want) {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			for _, secret := range []string{"s3cret", "vault", "53234"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q shows %q", err, secret)
				}
			}
		})
	}
}

// The nats CLI takes the home directory of the user database, whatever HOME says.
func TestWhereContextsAre(t *testing.T) {
	isolate(t, nil)
	t.Setenv("XDG_CONFIG_HOME", "")
	home := t.TempDir()
	t.Setenv("HOME", home)
	files := contextFiles("mh")
	if want := filepath.Join(home, ".config/nats/context/mh.json"); len(files) != 2 || files[1] != want || files[0] == want {
		t.Fatalf("files %q, want the last to be %q, and another", files, want)
	}
	_, err := parse(t, []string{"--context=no-such-context"}).Target()
	for _, file := range contextFiles("no-such-context") {
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%v does not name %s", err, file)
		}
	}
}
