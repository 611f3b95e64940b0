package browser

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/millhand/millhand/web"
)

// Below a base, behind a proxy that strips it and behind one that does not, all addresses of a page are
// below the base, it is live, and operations come back to where they were.
func TestBehindProxies(t *testing.T) {
	const base = "/a/b"
	c := start(t, web.Options{Base: base})
	c.enqueue("email", `{}`)
	target, err := url.Parse(c.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, strips := range map[string]bool{"stripping": true, "not stripping": false} {
		t.Run(name, func(t *testing.T) {
			proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target)
				if strips {
					r.Out.URL.Path = strings.TrimPrefix(r.Out.URL.Path, base)
				}
			}}
			mux := http.NewServeMux() // elsewhere it has nothing
			mux.Handle(base+"/", proxy)
			front := httptest.NewServer(mux)
			t.Cleanup(front.Close)
			t.Cleanup(front.CloseClientConnections)
			p := open(t, front.URL)
			p.look(1280, "light")
			p.goTo(base + "/")
			p.until(`Number(document.documentElement.dataset.updated) >= 1`)
			for _, path := range []string{"/", "/queues", "/queues/default", "/jobs?filter=state:ready", "/dead", "/limits", "/nowhere"} {
				p.goTo(base + path)
				if out := value[string](p, `[...document.querySelectorAll("[href], [src], [action]")].map(e => e.getAttribute("href") ?? e.getAttribute("src") ?? e.getAttribute("action")).filter(a => !a.startsWith("/a/b/") && !a.startsWith("#")).join(" ")`); out != "" {
					t.Errorf("%s has addresses that are not below the base: %s", path, out)
				}
			}
			p.forgive("404") // of the page that is nowhere
			p.goTo(base + "/queues?name=def")
			p.press("#q-default summary")
			p.press("#q-default .pop button")
			p.until(`document.body.innerText.includes("default is paused") && location.pathname + location.search === "/a/b/queues?name=def"`)
			paused, err := c.client.Paused(t.Context())
			if _, is := paused["default"]; err != nil || !is {
				t.Errorf("paused: %v, %v; want default", paused, err)
			}
			p.press("#q-default .do button")
			p.sees("default is resumed")
			p.press(`#nav [data-key="w"]`)
			p.until(`document.documentElement.dataset.ready === "yes" && location.pathname === "/a/b/workers"`)
		})
	}
}
