package configfile_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/configfile"
	"github.com/millhand/millhand/web"
)

// optionsOf are what a file and flags say of the dashboard.
func optionsOf(t *testing.T, text string, flags web.Flags, given ...string) (web.Options, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "millhand.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := configfile.ReadDashboard(file)
	if err != nil {
		return web.Options{}, err
	}
	return d.Options(&flags, func(name string) bool { return slices.Contains(given, name) })
}

func TestDashboardOfAFile(t *testing.T) {
	t.Parallel()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, fmt.Appendf(nil, "ci:admin:%x\n", sha256.Sum256([]byte("right"))), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := optionsOf(t, `
web:
  base: /ops/jobs
  auth:
    proxy: {user: X-User, groups: X-Groups, from: [10.0.0.0/8, "::1"], roles: {ops: operator, help: support, all: viewer}}
    token: `+tokens+`
  proxies: [192.168.0.1]
  read_only: true
  origin: https://jobs.example.com
  roles: {support: [view, payload, retry]}
  visible: {support: ["mail*", sms]}
  redact: {keys: [password, "*token*"], types: {charge: ["/card/number"]}, meta: [email]}
  links: {trace: "https://traces.example.com/{trace}"}
  objective: {critical: 10s}
`, web.Flags{Auth: []string{"none"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[[2]string]string{
		{"10.1.2.3:9", "ops"}: "operator", {"[::1]:9", "help"}: "support", {"192.168.0.1:9", "none"}: "viewer", {"172.16.0.1:9", "ops"}: "", {"127.0.0.1:9", "ops"}: "",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = name[0]
		r.Header.Set("X-User", "ada")
		r.Header.Set("X-Groups", name[1])
		if u, err := o.Auth(r); u.Role != want || (err == nil) != (want != "") {
			t.Errorf("from %s in %s: %+v, %v; want the role %q", name[0], name[1], u, err, want)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer right")
	if u, err := o.Auth(r); err != nil || u.Role != "admin" {
		t.Errorf("with a token: %+v, %v", u, err)
	}
	for queue, want := range map[string]bool{"mail": true, "mailing": true, "sms": true, "default": false} {
		if o.Visible(web.User{Role: "support"}, queue, "") != want || !o.Visible(web.User{Role: "viewer"}, queue, "") {
			t.Errorf("support sees %s: %v, want %v, and viewers see all", queue, !want, want)
		}
	}
	o.Auth, o.Visible = nil, nil
	want := web.Options{
		Base: "/ops/jobs", Proxies: []string{"192.168.0.1", "10.0.0.0/8", "::1"}, ReadOnly: true, Origin: "https://jobs.example.com",
		Roles:  map[string][]web.Permission{"support": {web.MayView, web.MayPayload, web.MayRetry}},
		Redact: web.Redaction{Keys: []string{"password", "*token*"}, Types: map[string][]string{"charge": {"/card/number"}}, Meta: []string{"email"}},
		Links:  map[string]string{"trace": "https://traces.example.com/{trace}"}, Objective: map[string]time.Duration{"critical": 10 * time.Second},
	}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

func TestFlagsOverTheDashboardOfAFile(t *testing.T) {
	t.Parallel()
	o, err := optionsOf(t, "web: {base: /a, read_only: true, auth: {token: /nowhere}, origin: 'https://a.example.com'}",
		web.Flags{Auth: []string{"none"}, Base: "/b"}, "web-base", "web-auth", "web-read-only")
	if err != nil || o.Base != "/b" || o.ReadOnly || o.Auth != nil || o.Origin != "https://a.example.com" {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestWhatAFileCannotSayOfTheDashboard(t *testing.T) {
	t.Parallel()
	const proxy = "web: {auth: {proxy: {user: X-User, from: [10.0.0.1]"
	for text, want := range map[string]string{
		"web:\n  baze: /a": `[2:3] unknown field "baze"`,
		"web:\n  proxies:\n  - 10.0.0.1\n  - proxy.local": `[4:5] "proxy.local": want an address or a network such as 10.0.0.0/8`,
		"web: {origin: jobs.example.com}":                 `[1:15] "jobs.example.com": want an origin such as https://`,
		"web:\n  roles: {support: [view, fly]}":           `[2:27] "fly": there is no such permission, but [view `,
		"web: {visible: {viewer: [a b]}}":                 `[1:26] "a b": want a queue, or a pattern`,
		"web: {visible: {nobody: [a]}}":                   `web: visible: there is no role "nobody", but viewer, operator, admin`,
		"web: {links: {logs: 'javascript:alert(1)'}}":     `[1:21] "javascript:alert(1)": want an address such as`,
		"web: {redact: {types: {charge: [card]}}}":        `[1:33] "card": want a JSON pointer such as /card/number`,
		"web: {objective: {default: soon}}":               `[1:28] "soon" is no duration`,
		"web: {objective: {default: 0s}}":                 `web: objective: default: must be more than 0`,
		"web: {tls_cert: a.pem}":                          `web: tls_cert and tls_key go together`,
		"web: {auth: {proxy: {user: X-User}}}":            `web: auth: proxy: from: missing: the addresses that may say who asks`,
		proxy + "}}}":                                     `web: auth: proxy: roles: missing, such as {all: viewer}`,
		proxy + ", roles: {ops: chief}}}}":                `web: auth: proxy: roles: ops: there is no role "chief", but viewer`,
		proxy + ", roles: {ops: operator}}}}":             `which header has the groups`,
		"web: {unsafe: maybe}":                            `[1:15] "maybe": want true or false`,
		`web: {unsafe: "yes"}`:                            `[1:15] "yes": want true or false`,
		"web: {read_only: yes}":                           `[1:18] "yes": want true or false`,
		"web: {base: jobs}":                               `[1:13] "jobs": want a path such as /ops/jobs`,
		"web: {auth: {token: /nowhere/tokens}}":           `--web-auth token:/nowhere/tokens: stat /nowhere/tokens: no such file`,
		"web: {unsafe: true, " + strings.TrimPrefix(proxy, "web: {") + ", roles: {all: viewer}}}}": `--web-unsafe is for no authentication at all`,
	} {
		if _, err := optionsOf(t, text, web.Flags{Auth: []string{"none"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror %v, want %s", text, err, want)
		}
	}
}

// The file of a worker is one of a dashboard by itself, too: what is the worker's is left to it, but what is nobody's is told.
func TestDashboardOfAWorkersFile(t *testing.T) {
	t.Parallel()
	o, err := optionsOf(t, `
x-base: &base /ops/jobs
concurrency: many
queues: {default: 1}
types:
  mail: {exec: [true], timeout: }
cron: {}
web: {base: *base, notify: {url: "env:IS_NOT_SET"}}
`, web.Flags{Auth: []string{"none"}})
	if err != nil || o.Base != "/ops/jobs" {
		t.Errorf("%+v, %v; want the base /ops/jobs", o, err)
	}
	for text, want := range map[string]string{
		"queue: {default: 1}\nweb: {base: /a}": `[1:1] unknown field "queue"`,
		"web: {base: /a}\nweb: {base: /b}":     `[2:1] key "web" is there already, in line 1`,
		"web: {base: /a}\ntypes: {a: {exec: [": "millhand.yaml: [",
	} {
		if _, err := optionsOf(t, text, web.Flags{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror %v, want %s", text, err, want)
		}
	}
	if _, err := configfile.ReadDashboard("/nowhere/millhand.yaml"); err == nil || err.Error() != "--config: open /nowhere/millhand.yaml: no such file or directory" {
		t.Errorf("no file: %v", err)
	}
}
