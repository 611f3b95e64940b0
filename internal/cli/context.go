package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// natsContext is a context file of the nats CLI, which keeps one server and its
// credentials under a name.
type natsContext struct {
	name string

	URL         string `json:"url"`
	User        string `json:"user"`
	Password    string `json:"password"`
	Creds       string `json:"creds"`
	NKey        string `json:"nkey"`
	Token       string `json:"token"`
	CA          string `json:"ca"`
	Cert        string `json:"cert"`
	Key         string `json:"key"`
	TLSFirst    bool   `json:"tls_first"`
	InboxPrefix string `json:"inbox_prefix"`

	// Without these we would connect to another place, or as another user, than the nats
	// CLI does, so a context with one of them is refused.
	SocksProxy  string `json:"socks_proxy"`
	UserJWT     string `json:"user_jwt"`
	NSC         string `json:"nsc"`
	WinStore    string `json:"windows_cert_store"`
	JSDomain    string `json:"jetstream_domain"`
	JSAPIPrefix string `json:"jetstream_api_prefix"`
}

// loadContext reads the context of that name, or the file itself if name is an absolute
// path. orbit.go's natscontext reads the same files, but only in order to connect at once:
// its settings cannot be seen, or overridden by flags, before.
func loadContext(name string) (*natsContext, error) {
	file := name
	if !filepath.IsAbs(name) {
		if name != filepath.Base(name) || name == ".." {
			return nil, fmt.Errorf("invalid context name %q", name)
		}
		dir, err := contextDir()
		if err != nil {
			return nil, err
		}
		file = filepath.Join(dir, name+".json")
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no context %q: %s does not exist", name, file)
	} else if err != nil {
		return nil, fmt.Errorf("context %q: %w", name, err)
	}
	c := &natsContext{name: name}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("context %q: %s: %w", name, file, err)
	}
	if err := c.unsupported(); err != nil {
		return nil, err
	}
	c.Creds = expandHome(os.ExpandEnv(c.Creds)) // the nats CLI expands variables here only
	for _, path := range []*string{&c.NKey, &c.CA, &c.Cert, &c.Key} {
		*path = expandHome(*path)
	}
	return c, nil
}

func (c *natsContext) unsupported() error {
	for _, field := range []struct{ key, value string }{
		{"socks_proxy", c.SocksProxy},
		{"user_jwt", c.UserJWT},
		{"nsc", c.NSC},
		{"windows_cert_store", c.WinStore},
		{"jetstream_domain", c.JSDomain},
		{"jetstream_api_prefix", c.JSAPIPrefix},
	} {
		if field.value != "" {
			return fmt.Errorf("context %q: %s is not supported", c.name, field.key)
		}
	}
	return nil
}

// get returns what the context has for a connection flag.
func (c *natsContext) get(flag string) value {
	v := value{source: fmt.Sprintf("context %q", c.name)}
	switch flag {
	case flagServer:
		v.text = c.URL
	case flagCreds:
		v.text = c.Creds
	case flagNKey:
		v.text = c.NKey
	case flagUser:
		v.text = c.User
	case flagPassword:
		v.text = c.Password
	case keyToken:
		v.text = c.Token
	case flagTLSCA:
		v.text = c.CA
	case flagTLSCert:
		v.text = c.Cert
	case flagTLSKey:
		v.text = c.Key
	}
	return v
}

func contextDir() (string, error) {
	config := os.Getenv("XDG_CONFIG_HOME")
	if config == "" { // os.UserConfigDir differs on a Mac, where the nats CLI does not
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		config = filepath.Join(home, ".config")
	}
	return filepath.Join(config, "nats", "context"), nil
}

func expandHome(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return path // opening it says what is wrong
	}
	return filepath.Join(home, rest)
}
