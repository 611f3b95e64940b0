package configfile

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/web"
)

// Dashboard is what a file says of the dashboard.
type Dashboard struct {
	Base      basePath               `yaml:"base"`
	Auth      authConfig             `yaml:"auth"`
	Proxies   []network              `yaml:"proxies"`
	Unsafe    Boolean                `yaml:"unsafe"`
	ReadOnly  Boolean                `yaml:"read_only"`
	Origin    origin                 `yaml:"origin"`
	TLSCert   string                 `yaml:"tls_cert"`
	TLSKey    string                 `yaml:"tls_key"`
	Roles     map[string][]permitted `yaml:"roles"`
	Visible   map[string][]pattern   `yaml:"visible"` // queues by role; a role that is left out sees all
	Redact    redactConfig           `yaml:"redact"`
	Links     map[string]template    `yaml:"links"`
	Objective map[string]Duration    `yaml:"objective"`
	Notify    Notify                 `yaml:"notify"`
}

// Notify says who is told of problems, by workers.
type Notify struct {
	URL string `yaml:"url"`
	Min string `yaml:"min"`
}

// authConfig are the ways to tell who asks, of which any will do.
type authConfig struct {
	Basic string           `yaml:"basic"` // files
	Token string           `yaml:"token"`
	Proxy *proxyAuthConfig `yaml:"proxy"`
}

type proxyAuthConfig struct {
	User   string            `yaml:"user"` // headers
	Groups string            `yaml:"groups"`
	From   []network         `yaml:"from"`
	Roles  map[string]string `yaml:"roles"` // by group
}

type redactConfig struct {
	Keys  []string                 `yaml:"keys"`
	Types map[string][]jsonPointer `yaml:"types"`
	Meta  []string                 `yaml:"meta"`
}

// A checkedText is one whose error tells where in the file it stands.
func checkedText(node *yaml.Node, into *string, rule func(string) string) error {
	if node.Kind != yaml.ScalarNode {
		return At(node, fmt.Errorf("%s: want text", Shown(node)))
	}
	if wrong := rule(node.Value); wrong != "" {
		return At(node, fmt.Errorf("%s: %s", Shown(node), wrong))
	}
	*into = node.Value
	return nil
}

type (
	basePath    string // such as /ops/jobs
	network     string // an address, or a network
	origin      string // such as https://jobs.example.com
	permitted   string // a permission
	pattern     string // of queues; * stands for any text
	template    string // of an address elsewhere
	jsonPointer string // such as /card/number
)

// UnmarshalYAML implements yaml.Unmarshaler.
func (b *basePath) UnmarshalYAML(node *yaml.Node) error {
	return checkedText(node, (*string)(b), func(text string) string {
		if web.CheckBase(text) != nil {
			return "want a path such as /ops/jobs"
		}
		return ""
	})
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (n *network) UnmarshalYAML(node *yaml.Node) error {
	return checkedText(node, (*string)(n), func(text string) string {
		_, err := netip.ParsePrefix(text)
		if _, addrErr := netip.ParseAddr(text); err != nil && addrErr != nil {
			return "want an address or a network such as 10.0.0.0/8"
		}
		return ""
	})
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (o *origin) UnmarshalYAML(node *yaml.Node) error {
	return checkedText(node, (*string)(o), func(text string) string {
		if http.NewCrossOriginProtection().AddTrustedOrigin(text) != nil {
			return "want an origin such as https://jobs.example.com"
		}
		return ""
	})
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (p *permitted) UnmarshalYAML(node *yaml.Node) error {
	return checkedText(node, (*string)(p), func(text string) string {
		if all := web.Permissions(); !slices.Contains(all, web.Permission(text)) {
			return fmt.Sprintf("there is no such permission, but %v", all)
		}
		return ""
	})
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (p *pattern) UnmarshalYAML(node *yaml.Node) error {
	return checkedText(node, (*string)(p), func(text string) string {
		if name := strings.ReplaceAll(text, "*", "x"); millhand.CheckQueue(name) != nil {
			return "want a queue, or a pattern such as mail*"
		}
		return ""
	})
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (t *template) UnmarshalYAML(node *yaml.Node) error {
	return checkedText(node, (*string)(t), func(text string) string {
		u, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(text))
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return "want an address such as https://traces.example.com/{trace}"
		}
		return ""
	})
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (p *jsonPointer) UnmarshalYAML(node *yaml.Node) error {
	return checkedText(node, (*string)(p), func(text string) string {
		if !strings.HasPrefix(text, "/") {
			return "want a JSON pointer such as /card/number"
		}
		return ""
	})
}

// Check says what does not go together.
func (d *Dashboard) Check() error {
	roles := []string{"viewer", "operator", "admin"}
	roles = append(roles, slices.Sorted(maps.Keys(d.Roles))...)
	if p := d.Auth.Proxy; p != nil {
		switch {
		case p.User == "":
			return errors.New("auth: proxy: user: missing, such as X-Forwarded-User")
		case len(p.From) == 0:
			return errors.New("auth: proxy: from: missing: the addresses that may say who asks, such as [10.0.0.0/8]")
		case len(p.Roles) == 0:
			return errors.New("auth: proxy: roles: missing, such as {all: viewer}")
		}
		for _, group := range slices.Sorted(maps.Keys(p.Roles)) {
			if !slices.Contains(roles, p.Roles[group]) {
				return fmt.Errorf("auth: proxy: roles: %s: there is no role %q, but %s", group, p.Roles[group], strings.Join(roles, ", "))
			}
		}
	}
	for _, role := range slices.Sorted(maps.Keys(d.Visible)) {
		if !slices.Contains(roles, role) {
			return fmt.Errorf("visible: there is no role %q, but %s", role, strings.Join(roles, ", "))
		}
	}
	for _, queue := range slices.Sorted(maps.Keys(d.Objective)) {
		if err := RuleOf(millhand.CheckQueue(queue)); err != nil {
			return fmt.Errorf("objective: queue %q: %w", queue, err)
		}
		if d.Objective[queue] <= 0 {
			return fmt.Errorf("objective: %s: must be more than 0", queue)
		}
	}
	if (d.TLSCert == "") != (d.TLSKey == "") {
		return errors.New("tls_cert and tls_key go together")
	}
	return nil
}

// under puts what the file says below what flags say.
func (d *Dashboard) under(f *web.Flags, given func(flag string) bool) {
	text := func(flag string, to *string, value string) {
		if !given(flag) && value != "" {
			*to = value
		}
	}
	text("web-base", &f.Base, string(d.Base))
	text("web-origin", &f.Origin, string(d.Origin))
	text("web-tls-cert", &f.CertFile, d.TLSCert)
	text("web-tls-key", &f.KeyFile, d.TLSKey)
	if !given("web-unsafe") {
		f.Unsafe = bool(d.Unsafe)
	}
	if !given("web-read-only") {
		f.ReadOnly = bool(d.ReadOnly)
	}
	f.Roles = make(map[string][]web.Permission)
	for role, all := range d.Roles {
		f.Roles[role] = as[web.Permission](all)
	}
	if !given("web-proxy") {
		f.Proxies = as[string](d.Proxies)
	}
	if given("web-auth") {
		return
	}
	var ways []string
	if p := d.Auth.Proxy; p != nil {
		ways = append(ways, "proxy:"+strings.TrimSuffix(p.User+","+p.Groups, ","))
		f.Proxies = append(f.Proxies, as[string](p.From)...)
		if !given("web-role") {
			f.GroupRoles = p.Roles
		}
	}
	if d.Auth.Basic != "" {
		ways = append(ways, "basic:"+d.Auth.Basic)
	}
	if d.Auth.Token != "" {
		ways = append(ways, "token:"+d.Auth.Token)
	}
	if len(ways) > 0 {
		f.Auth = ways
	}
}

// as are texts of another type.
func as[To, From ~string](all []From) (out []To) {
	for _, text := range all {
		out = append(out, To(text))
	}
	return out
}

// into adds what there is no flag for.
func (d *Dashboard) into(o *web.Options) {
	o.Redact = web.Redaction{Keys: d.Redact.Keys, Meta: d.Redact.Meta, Types: make(map[string][]string)}
	for typ, pointers := range d.Redact.Types {
		o.Redact.Types[typ] = as[string](pointers)
	}
	o.Links, o.Objective = make(map[string]string), make(map[string]time.Duration)
	for name, text := range d.Links {
		o.Links[name] = string(text)
	}
	for queue, within := range d.Objective {
		o.Objective[queue] = time.Duration(within)
	}
	if len(d.Visible) > 0 {
		o.Visible = d.sees
	}
}

// sees reports whether a user may see a queue.
func (d *Dashboard) sees(u web.User, queue, _ string) bool {
	all, limited := d.Visible[u.Role]
	return !limited || slices.ContainsFunc(all, func(p pattern) bool {
		ok, err := path.Match(string(p), queue) // names have none of its other signs
		return err == nil && ok
	})
}

// Options are what the file says of the dashboard, and the flags, which come over it: given reports whether one is there.
func (d *Dashboard) Options(f *web.Flags, given func(flag string) bool) (web.Options, error) {
	d.under(f, given)
	opts, err := f.Options()
	if err != nil {
		return opts, err
	}
	d.into(&opts)
	return opts, nil
}

// WorkerKeys are the keys at the top of a worker's file besides that of the dashboard.
func WorkerKeys() []string {
	return []string{"concurrency", "queues", "strict", "max_stuck", "types", "cron"}
}

// ReadDashboard reads what a file says of the dashboard, which may be that of a worker: what is the worker's is not looked at.
func ReadDashboard(name string) (Dashboard, error) {
	var c struct {
		Web Dashboard `yaml:"web"`
	}
	if err := load(name, &c, Rules{}, WorkerKeys()); err != nil {
		return c.Web, err
	}
	if err := c.Web.Check(); err != nil {
		return c.Web, cli.Usagef("--config: web: %w", err)
	}
	return c.Web, nil
}

// RuleOf is the rule that something breaks, without what it is and its value, which the caller says.
func RuleOf(err error) error {
	if e, ok := errors.AsType[*millhand.InvalidError](err); ok {
		return errors.New(e.Rule)
	}
	return err
}
