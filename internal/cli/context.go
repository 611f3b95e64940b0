package cli

import (
	"bytes"
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
	JSDomain    string `json:"jetstream_domain"`

	// Without these we would connect to another place, or as another user, than the nats
	// CLI does, so a context with one of them is refused.
	SocksProxy  string `json:"socks_proxy"`
	UserJWT     string `json:"user_jwt"`
	UserSeed    string `json:"user_seed"`
	NSC         string `json:"nsc"`
	WinStore    string `json:"windows_cert_store"`
	JSAPIPrefix string `json:"jetstream_api_prefix"`
}

// loadContext reads the context of that name, or the file itself if name is an absolute
// path. orbit.go's natscontext reads the same files, but only in order to connect at once:
// its settings cannot be seen, or overridden by flags, before.
func loadContext(name string) (*natsContext, error) {
	files := []string{name}
	if !filepath.IsAbs(name) {
		if name != filepath.Base(name) || strings.Contains(name, "..") {
			return nil, fmt.Errorf("invalid context name %q", name)
		}
		files = contextFiles(name)
	}
	b, file, err := readFirst(files)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no context %q: %s does not exist", name, strings.Join(files, " does not exist, and "))
	} else if err != nil {
		return nil, fmt.Errorf("context %q: %w", name, err)
	}
	c := &natsContext{name: name}
	if err := json.Unmarshal(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), c); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			err = fmt.Errorf("%s: a %s cannot be there", wrong.Field, strings.Fields(wrong.Value)[0]) // without the value
		}
		return nil, fmt.Errorf("context %q: %s: %w", name, file, err)
	}
	if err := c.unsupported(); err != nil {
		return nil, err
	}
	for _, path := range []*string{&c.Creds, &c.NKey, &c.CA, &c.Cert, &c.Key} {
		if scheme, _, err := cutReference(*path); scheme == "" && err == nil {
			*path = expand(*path)
		}
	}
	return c, nil
}

// readFirst reads the first of files that there is.
func readFirst(files []string) (b []byte, file string, err error) {
	err = fs.ErrNotExist
	for _, file = range files {
		if b, err = os.ReadFile(file); !errors.Is(err, fs.ErrNotExist) {
			return b, file, err
		}
	}
	return nil, "", err
}

func (c *natsContext) unsupported() error {
	for _, field := range []struct{ key, value string }{
		{"socks_proxy", c.SocksProxy},
		{"user_jwt", c.UserJWT},
		{"user_seed", c.UserSeed},
		{"nsc", c.NSC},
		{"windows_cert_store", c.WinStore},
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
	v := value{source: fmt.Sprintf("context %q", c.name), context: true}
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
	case flagInbox:
		v.text = c.InboxPrefix
	case flagDomain:
		v.text = c.JSDomain
	case flagTLSCA:
		v.text = c.CA
	case flagTLSCert:
		v.text = c.Cert
	case flagTLSKey:
		v.text = c.Key
	}
	return v
}

// contextFiles are where a context may be: first where the nats CLI writes it, whose home
// directory is not that of the environment.
func contextFiles(name string) []string {
	configs := []string{os.Getenv("XDG_CONFIG_HOME")}
	if configs[0] == "" { // os.UserConfigDir differs on a Mac, where the nats CLI does not
		configs = nil
		for _, home := range homeDirs() {
			configs = append(configs, filepath.Join(home, ".config"))
		}
	}
	var files []string
	for _, config := range configs {
		files = append(files, filepath.Join(config, "nats", "context", name+".json"))
	}
	return files
}
