package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/millhand/millhand/web"
)

// A proxy is believed, and nobody else.
func TestProxy(t *testing.T) {
	auth, err := web.Proxy(web.ProxyConfig{User: "X-User", Groups: "X-Groups", From: []string{"10.0.0.0/8"}, Roles: map[string]string{"ops": "operator", "all": "viewer"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, groups, role string // without a role it is refused
	}{
		{"10.1.2.3:99", "dev, ops", "operator"},
		{"10.1.2.3:99", "dev", "viewer"},
		{"192.168.0.1:99", "ops", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.from
		r.Header.Set("X-User", "ada")
		r.Header.Set("X-Groups", c.groups)
		u, err := auth(r)
		if (err != nil) != (c.role == "") || u.Role != c.role {
			t.Errorf("from %s with %s: %+v, %v; want role %q", c.from, c.groups, u, err, c.role)
		}
	}
}

// A header that came twice may be the browser's own.
func TestProxyHeadersOfABrowser(t *testing.T) {
	auth, err := web.Proxy(web.ProxyConfig{User: "X-User", Groups: "X-Groups", From: []string{"10.0.0.0/8"}, Roles: map[string]string{"ops": "operator"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{"X-User", "X-Groups"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "10.0.0.1:99"
		r.Header.Set("X-User", "ada")
		r.Header.Set("X-Groups", "ops")
		r.Header.Add(header, "other")
		if u, err := auth(r); err == nil {
			t.Errorf("%s twice: taken for %+v", header, u)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func hashOf(t *testing.T, password string, cost int) string {
	t.Helper()
	b, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A name that there is not is refused by as much work as one that there is.
func TestUnknownNamesTakeAsLong(t *testing.T) {
	const cost = 9
	auth, err := web.Basic(write(t, "ada:admin:"+hashOf(t, "right", cost)+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	try := func(name, password, from string) (time.Duration, error) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = from
		r.SetBasicAuth(name, password)
		began := time.Now()
		_, err := auth(r)
		return time.Since(began), err
	}
	least := map[string]time.Duration{}
	ratio := 0.0
	for i := 0; i < 4 || i < 100 && (ratio < 0.5 || ratio > 2); i++ { // the least of many on a machine that does other things, too
		for _, name := range []string{"ada", "bob"} {
			took, err := try(name, "wrong", fmt.Sprintf("10.%d.0.1:1", i))
			if err == nil {
				t.Fatal("a wrong password was taken")
			}
			if least[name] == 0 || took < least[name] {
				least[name] = took
			}
		}
		ratio = float64(least["bob"]) / float64(least["ada"])
	}
	if ratio < 0.5 || ratio > 2 {
		t.Errorf("an unknown name takes %v, a known one %v", least["bob"], least["ada"])
	}
	if _, err := try("bob", "right", "10.200.1.1:1"); err == nil {
		t.Error("another's password was taken for a name that there is not")
	}
	if _, err := try("ada", "right"+strings.Repeat("\x00", 80), "10.200.1.1:1"); err == nil {
		t.Error("a password that is too long was taken")
	}
	if _, err := try("ada", "right", "10.200.1.1:1"); err != nil {
		t.Error(err)
	}
}

// Whoever has a whole network of addresses has no more guesses.
func TestGuessesOfANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth, err := web.Basic(write(t, "ada:admin:"+hashOf(t, "right", bcrypt.MinCost)+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for i := range 8 {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = fmt.Sprintf("[2001:db8::%d]:1", i)
			r.SetBasicAuth("ada", "wrong")
			if _, err := auth(r); err != nil && strings.Contains(err.Error(), "Too many") {
				refused++
			}
		}
		if refused == 0 {
			t.Error("addresses of one network may guess without end")
		}
	})
}

// The hash of nothing is what is in the file if the token was not set where it was hashed.
func TestNoTokenIsNone(t *testing.T) {
	auth, err := web.Token(write(t, "ci:admin:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"))
	if err != nil {
		return // refused when it was read
	}
	for _, header := range []string{"", "Bearer ", "Bearer  ", "Basic eA=="} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", header)
		if u, err := auth(r); err == nil {
			t.Errorf("%q: taken for %+v", header, u)
		}
	}
}

// Whoever is not known is told nothing of files and their lines.
func TestBrokenUsersAreNotShown(t *testing.T) {
	s := newSite(t, web.Options{Auth: func(*http.Request) (web.User, error) {
		return web.User{}, errors.New("/etc/millhand/users: hunter2: the third field is no bcrypt hash")
	}})
	for _, path := range []string{"/", "/live/", "/nothing", "/jobs/a/b/c/payload"} {
		if resp := send(t, s.handler, "GET", path, nil); resp.Code != 500 || strings.Contains(resp.Body.String(), "hunter2") {
			t.Errorf("GET %s: %d\n%s", path, resp.Code, resp.Body)
		}
	}
}

// A stream ends with the session of whoever looks.
func TestStreamsEndWithTheSession(t *testing.T) {
	var left atomic.Int32
	left.Store(1)
	s := newSite(t, web.Options{Auth: func(*http.Request) (web.User, error) {
		if left.Add(-1) < 0 {
			return web.User{}, &web.ChallengeError{Text: "it is over"}
		}
		return web.User{Name: "ada", Role: "admin"}, nil
	}})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/live/", nil)
	s.handler.ServeHTTP(httptest.NewRecorder(), r) // returns
	if left.Load() >= 0 {
		t.Error("who looks was not asked again")
	}
}
