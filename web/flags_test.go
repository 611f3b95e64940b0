package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"golang.org/x/crypto/bcrypt"

	"github.com/millhand/millhand/web"
)

func flagsOf(t *testing.T, args ...string) (web.Options, error) {
	t.Helper()
	var f web.Flags
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f.Options()
}

// A header that says who asks is believed of a proxy that was named, and of nobody else.
func TestForgedHeaders(t *testing.T) {
	forged := func(r *http.Request) {
		r.Header.Set("X-User", "ada")
		r.Header.Set("X-Groups", "dev,ops")
	}
	for proxy, want := range map[string]int{"10.0.0.0/8": 403, "127.0.0.1": 200, "::1": 403} {
		o, err := flagsOf(t, "--web-auth", "proxy:X-User,X-Groups", "--web-proxy", proxy, "--web-role", "ops=operator", "--web-role", "all=viewer")
		if err != nil {
			t.Fatal(err)
		}
		s := newSite(t, o)
		resp, body := s.ask("GET", "/settings", nil, forged)
		if resp.StatusCode != want || strings.Contains(body, "operator") != (want == 200) {
			t.Errorf("the proxy is %s, the headers came from 127.0.0.1: %s, want %d\n%s", proxy, resp.Status, want, body)
		}
		if resp, _ := s.ask("GET", "/settings", nil); resp.StatusCode != http.StatusForbidden {
			t.Errorf("the proxy is %s, without a header: %s, want 403", proxy, resp.Status)
		}
	}
}

// Guesses are counted by whom a proxy was asked by. Who is no proxy cannot have them counted elsewhere.
func TestGuessesThroughAProxy(t *testing.T) {
	users := write(t, "ada:admin:"+hashOf(t, "right", bcrypt.MinCost)+"\n")
	for proxy, want := range map[string]int{"127.0.0.1": 401, "10.0.0.1": 429} {
		o, err := flagsOf(t, "--web-auth", "basic:"+users, "--web-proxy", proxy)
		if err != nil {
			t.Fatal(err)
		}
		s := newSite(t, o)
		guess := func(via string) int {
			resp, _ := s.ask("GET", "/settings", nil, func(r *http.Request) {
				r.SetBasicAuth("ada", "wrong")
				r.Header.Set("X-Forwarded-For", via)
			})
			return resp.StatusCode
		}
		last := 0
		for range 8 {
			last = guess("198.51.100.7, 203.0.113.9")
		}
		if last != 429 {
			t.Errorf("the proxy is %s: the eighth wrong password of one address is answered with %d", proxy, last)
		}
		if got := guess("203.0.113.9, 198.51.100.8"); got != want { // the first of these could be anything
			t.Errorf("the proxy is %s: the first of another address is answered with %d, want %d", proxy, got, want)
		}
	}
}

func TestFlagsThatDoNotGoTogether(t *testing.T) {
	for args, want := range map[string]string{
		"--web-auth ldap:x": "want none alone, basic:FILE, token:FILE, proxy:HEADER", "--web-auth basic": "want none alone",
		"--web-auth none --web-auth token:x":                                "want none alone",
		"--web-auth proxy:X-User --web-role all=viewer":                     "give those of the proxy by --web-proxy",
		"--web-auth proxy:X-User --web-proxy 10.0.0.1":                      "Give a role by --web-role, such as all=viewer",
		"--web-auth proxy:X-User --web-proxy 10.0.0.1 --web-role ops=admin": "which header has the groups",
		"--web-auth proxy:X-User --web-proxy nginx --web-role all=viewer":   `"nginx": want an address or a network`,
		"--web-auth proxy:X-User --web-proxy 10.0.0.1 --web-role all=chief": `there is no role "chief", but admin, operator, viewer`,
		"--web-role all=viewer":                                             "--web-role is for --web-auth proxy",
		"--web-proxy 10.0.0.1":                                              "--web-proxy is for --web-auth",
		"--web-tls-cert a.pem":                                              "go together",
	} {
		if _, err := flagsOf(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
