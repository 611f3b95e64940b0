package web_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/millhand/millhand/web"
)

// wantRoutes is who may ask for what: a route that is added is decided on here, too.
func wantRoutes() map[string]web.Permission {
	all := map[string]web.Permission{
		"GET /{$}": web.MayView, "GET /queues": web.MayView, "GET /queues/{queue}": web.MayView, "GET /types": web.MayView, "GET /types/{type}": web.MayView,
		"GET /jobs": web.MayView, "GET /jobs/{queue}/{type}/{id}": web.MayView, "GET /jobs/{queue}/{type}/{id}/payload": web.MayPayload,
		"GET /bulk/new": web.MayView, "GET /bulk/{bulk}": web.MayView, "GET /dead": web.MayView, "GET /workers": web.MayView, "GET /workers/{worker}": web.MayView,
		"GET /limits": web.MayView, "GET /cron": web.MayView, "GET /activity": web.MayView, "GET /broker": web.MayView, "GET /settings": web.MayView,
		"GET " + web.MetricsPath: web.MayView, "GET " + web.AutoscalePath: web.MayView,
		"POST /settings": web.MayView, // is kept in the browser that asks
		"POST /jobs":     web.MayView, // these three ask for the permission of what is to be done
		"POST /bulk":     web.MayView, "POST /bulk/{bulk}/stop": web.MayView,
		"POST /workers/{worker}/drain": web.MayDrain, "POST /limits": web.MayLimits, "GET /enqueue": web.MayEnqueue, "POST /enqueue": web.MayEnqueue, "POST /reschedule": web.MayRetry, "POST /cron/{entry}/run": web.MayEnqueue, "POST /cron/{entry}/pause": web.MayPause,
		"GET /workflows": web.MayView, "GET /workflows/{queue}/{id}": web.MayView, "POST /workflows/{queue}/{id}/cancel": web.MayCancel,
		"POST /workflows/{queue}/{id}/retry": web.MayRetry, "POST /workflows/{queue}/{id}/signal": web.MayEnqueue,
		"POST /pause": web.MayPause, "POST /resume": web.MayPause,
	}
	for _, path := range []string{
		"snapshot", "problems", "queues", "queues/{queue}", "types", "types/{type}", "jobs", "jobs/{queue}/{type}/{id}", "jobs/{queue}/{type}/{id}/why", "dead/groups",
		"workers", "workers/{worker}", "workers/{worker}/tree", "workflows", "workflows/{queue}/{id}", "limits", "history", "cron", "activity", "live", "openapi.json", "bulk/new", "bulk/{bulk}",
	} {
		all["GET /api/v1/"+path] = web.MayView
	}
	all["GET /api/v1/verify"] = web.MayVerify
	for route, p := range map[string]web.Permission{
		"GET jobs/{queue}/{type}/{id}/payload": web.MayPayload, "POST jobs/{queue}/{type}/{id}/retry": web.MayRetry, "POST jobs/{queue}/{type}/{id}/run": web.MayRetry, "POST jobs/{queue}/{type}/{id}/reschedule": web.MayRetry, "POST jobs": web.MayEnqueue,
		"POST jobs/{queue}/{type}/{id}/cancel": web.MayCancel, "POST jobs/{queue}/{type}/{id}/delete": web.MayDelete,
		"POST cron/{entry}/run": web.MayEnqueue, "POST cron/{entry}/pause": web.MayPause, "POST cron/{entry}/resume": web.MayPause,
		"POST workflows/{queue}/{id}/cancel": web.MayCancel, "POST workflows/{queue}/{id}/retry": web.MayRetry, "POST workflows/{queue}/{id}/signal": web.MayEnqueue,
		"POST bulk": web.MayView, "POST bulk/{bulk}/stop": web.MayView, // which ask for the permission of what is done
		"PUT limits/{pool}": web.MayLimits, "POST workers/{worker}/drain": web.MayDrain, "POST workers/{worker}/undrain": web.MayDrain,
		"PUT pauses/{queue}": web.MayPause, "DELETE pauses/{queue}": web.MayPause, "PUT pauses/{queue}/{type}": web.MayPause, "DELETE pauses/{queue}/{type}": web.MayPause,
	} {
		method, path, _ := strings.Cut(route, " ")
		all[method+" /api/v1/"+path] = p
	}
	return all
}

// may is what the roles of these tests may.
func may(role string, p web.Permission) bool {
	none := map[string][]web.Permission{
		"viewer":   {web.MayDelete, web.MayLimits, web.MayEnqueue, web.MayPayload, web.MayRetry, web.MayCancel, web.MayPause, web.MayDrain, web.MayVerify},
		"operator": {web.MayDelete, web.MayLimits, web.MayEnqueue}, "admin": {},
		"support": {web.MayDelete, web.MayLimits, web.MayEnqueue, web.MayCancel, web.MayPause, web.MayDrain, web.MayVerify},
	}
	denied, known := none[role]
	return known && !slices.Contains(denied, p)
}

// An untilWritten recorder ends a request that would go on for ever once it has answered.
type untilWritten struct {
	*httptest.ResponseRecorder
	end context.CancelFunc
}

// Write implements [io.Writer].
func (u untilWritten) Write(b []byte) (int, error) {
	u.end()
	return u.ResponseRecorder.Write(b)
}

// send asks a handler without a network.
func send(t *testing.T, h http.Handler, method, target string, form url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, f := range change {
		f(r)
	}
	w := untilWritten{httptest.NewRecorder(), func() {}}
	if strings.HasPrefix(target, "/live/") || target == "/api/v1/live" {
		w.end = cancel
	}
	h.ServeHTTP(w, r)
	return w.ResponseRecorder
}

// filled is a path with names in it.
func filled(path string) string {
	return strings.NewReplacer("{$}", "", "{queue}", "default", "{type}", "mail", "{id}", "0192f3c0-7a1e-7b3c-9d55-000000000000", "{bulk}", "x", "{worker}", "w", "{entry}", "e", "{pool}", "mail").Replace(path)
}

// Every route is asked with every method as every role.
func TestEveryRouteAsEveryRole(t *testing.T) {
	s := newSite(t, web.Options{Auth: byHeader, Roles: map[string][]web.Permission{"support": {web.MayPayload, web.MayRetry}}})
	s.enqueue("mail", `{}`)
	want, got := wantRoutes(), make(map[string]web.Permission)
	methods := make(map[string][]string) // by path
	for _, r := range s.handler.Routes() {
		got[r.Method+" "+r.Path] = r.May
		methods[r.Path] = append(methods[r.Path], r.Method)
		if r.Page {
			methods["/live"+r.Path] = append(methods["/live"+r.Path], r.Method)
			got[r.Method+" /live"+r.Path], want[r.Method+" /live"+r.Path] = r.May, want[r.Method+" "+r.Path]
		}
		if r.Do != (r.Method != http.MethodGet) {
			t.Errorf("%s %s: what changes something is no GET, and nothing else is", r.Method, r.Path)
		}
	}
	if !maps.Equal(got, want) {
		t.Fatalf("routes = %v, want %v", got, want)
	}
	methods["/nothing/of/the/kind"], methods["/api/v1/nothing"] = nil, nil
	for path, known := range methods {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			asked := method
			if method == http.MethodHead {
				asked = http.MethodGet
			}
			for _, role := range []string{"", "nobody", "viewer", "support", "operator", "admin"} {
				resp := send(t, s.handler, method, filled(path), nil, as(role))
				what := fmt.Sprintf("%s %s as %q: %d", method, path, role, resp.Code)
				refused := resp.Code == 401 || resp.Code == 403
				switch {
				case role == "" && resp.Code != 401:
					t.Errorf("%s, want 401", what)
				case role != "" && !may(role, web.MayView) && resp.Code != 403:
					t.Errorf("%s, want 403", what)
				case may(role, web.MayView) && !slices.Contains(known, asked) && resp.Code != 404 && resp.Code != 405:
					t.Errorf("%s, want that there is nothing", what)
				case slices.Contains(known, asked) && may(role, web.MayView) && refused == may(role, got[asked+" "+path]):
					t.Errorf("%s, and the route needs %q", what, got[asked+" "+path])
				}
				keep := "no-store"
				if strings.HasPrefix(path, "/api/") && resp.Header().Get("ETag") != "" {
					keep = "no-cache, private"
				}
				for name, value := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": keep, "Referrer-Policy": "same-origin"} {
					if resp.Header().Get(name) != value {
						t.Errorf("%s, %s = %q, want %q", what, name, resp.Header().Get(name), value)
					}
				}
			}
		}
	}
}

// What is asked for by a word is for those who may do that.
func TestEveryOperationAsEveryRole(t *testing.T) {
	s := newSite(t, web.Options{Auth: byHeader, Roles: map[string][]web.Permission{"support": {web.MayPayload, web.MayRetry}}})
	locked := siteOf(t, s.client.Conn(), web.Options{Auth: byHeader, ReadOnly: true})
	needs := map[string]web.Permission{"retry": web.MayRetry, "run": web.MayRetry, "cancel": web.MayCancel, "delete": web.MayDelete}
	for word, p := range needs {
		form := url.Values{"do": {word}, "filter": {"state:dead"}}
		for _, role := range []string{"viewer", "support", "operator", "admin"} {
			for _, at := range []struct{ method, path string }{{"POST", "/jobs"}, {"POST", "/bulk"}, {"GET", "/bulk/new?" + form.Encode()}, {"GET", "/live/bulk/new?" + form.Encode()}} {
				live := strings.HasPrefix(at.path, "/live/") // says so in the stream
				if resp := send(t, s.handler, at.method, at.path, form, as(role)); !live && (resp.Code == 403) == may(role, p) {
					t.Errorf("%s %s %s as %s: %d", at.method, at.path, word, role, resp.Code)
				} else if live && strings.Contains(resp.Body.String(), "You may not do this") == may(role, p) {
					t.Errorf("%s as %s: %s", at.path, role, resp.Body)
				}
				if resp := send(t, locked.handler, at.method, at.path, form, as(role)); !live && resp.Code != 403 {
					t.Errorf("read-only: %s %s %s as %s: %d", at.method, at.path, word, role, resp.Code)
				}
			}
		}
	}
	trusting := siteOf(t, s.client.Conn(), web.Options{Auth: byHeader, Origin: "https://jobs.example.com"})
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, r := range s.handler.Routes() {
		if r.Method == http.MethodGet {
			continue
		}
		for _, from := range []func(*http.Request){header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Site", "same-site"), header("Origin", "https://evil.example.com"), header("Origin", "null")} {
			if resp := send(t, s.handler, r.Method, filled(r.Path), nil, as("admin"), from); resp.Code != 403 {
				t.Errorf("POST %s from elsewhere: %d, want 403", r.Path, resp.Code)
			}
		}
		if resp := send(t, trusting.handler, r.Method, filled(r.Path), nil, as("admin"), header("Origin", "https://jobs.example.com"), header("Sec-Fetch-Site", "cross-site")); resp.Code == 403 {
			t.Errorf("POST %s from the public origin: %d", r.Path, resp.Code)
		}
		if resp := send(t, locked.handler, r.Method, filled(r.Path), nil, as("admin")); r.May != web.MayView && resp.Code != 403 {
			t.Errorf("read-only: POST %s: %d, want 403", r.Path, resp.Code)
		}
	}
}
